"""Measures how far each form of a model (merged, quantized, served) is from the trained one."""
