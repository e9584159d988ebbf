"""Looks for better settings: searches and cross-validation."""
