"""Schema revisions, numbered in the order in which they run; a released one is never changed.

A revision describes tables as they were, so it imports nothing of driftwheel. Each runs on SQLite and on PostgreSQL,
inside one transaction with the others that are due.
"""
