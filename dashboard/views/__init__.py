"""A page per noun, the overview, the playground and the comparison."""
