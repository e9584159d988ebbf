"""The demo: the whole loop on an invented shop."""
