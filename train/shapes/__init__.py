"""Reads the columns of a raw row as a conversation: the formats that people write training data in."""
