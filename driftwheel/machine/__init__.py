"""This machine: its processor, its GPUs and their memory, its operating system, and what reaches it."""
