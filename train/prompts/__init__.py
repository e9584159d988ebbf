"""Prompts that are versions of their own: written down in a file, tried, and put into a model's chat template."""
