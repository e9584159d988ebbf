"""Scores answers, by the kind of task."""
