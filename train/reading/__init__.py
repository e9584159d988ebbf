"""Reads data files of every kind as raw records: compression, encoding and the syntax of each, not what they mean."""
