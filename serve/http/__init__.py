"""Bytes of clients become requests, and answers become bytes."""
