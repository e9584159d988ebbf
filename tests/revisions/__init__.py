"""Small databases of each released revision."""
