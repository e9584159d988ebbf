"""Engines: starts or finds them, and proves that they serve the right version."""
