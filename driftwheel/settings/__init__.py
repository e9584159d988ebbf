"""The settings: one class for each section of the YAML file, and their loading."""
