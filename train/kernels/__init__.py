"""Faster forms of frozen layers, for training on a CPU."""
