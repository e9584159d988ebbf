"""Scores of the same items become the tables and the arithmetic that the gate decides by."""
