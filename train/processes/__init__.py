"""Child processes, their environments, and what this process is to the others."""
