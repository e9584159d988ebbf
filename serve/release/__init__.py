"""A candidate becomes the live version, step by step, or does not."""
