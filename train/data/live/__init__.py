"""Rows from live traffic: what was labelled, by whom, and how far each may teach."""
