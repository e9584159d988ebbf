"""Benchmarks: each module measures one claim and prints a table."""
