"""What all stages share: records, settings, ledger, traffic log, and the command line."""
