"""Trains one run in this process with TRL's trainers."""
