"""Who may call: API keys, their holders, and the rule for whatever listens."""
