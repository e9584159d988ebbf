"""Near-duplicate search: signatures find pairs that may resemble one another, edit distances decide."""
