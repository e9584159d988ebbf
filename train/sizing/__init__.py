"""Says what fits this machine, before anything is loaded."""
