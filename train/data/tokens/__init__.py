"""Rows as the model sees them: rendered by its chat template, with a mark on each token that is learned."""
