"""Answers become scores, by the kind of task."""
