"""A request becomes an engine's answer and a durable row."""
