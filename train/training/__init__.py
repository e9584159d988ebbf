"""Settings and splits become a trainer, and its steps become quick."""
