"""The traffic log: writing, feedback, redaction, export and retention."""
