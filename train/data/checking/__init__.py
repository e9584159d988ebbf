"""What `driftwheel data check` finds in data files, and what to do about it."""
