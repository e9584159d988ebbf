"""Passes a request on to an engine, and writes its answer down as a durable row."""
