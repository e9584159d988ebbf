"""From rows to a Dataset: cleaned, grouped, split without a leak, augmented, counted and written."""
