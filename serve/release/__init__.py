"""Releases: makes the desired version live, through proof and canary, or refuses it."""
