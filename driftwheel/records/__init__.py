"""The records of the ledger and what they hold: frozen, typed, and written as JSON or rows."""
