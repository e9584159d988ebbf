"""Tests, suites, and their support."""
