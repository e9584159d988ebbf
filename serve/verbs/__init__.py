"""One verb of `python -m serve` is one module with add_arguments and main."""
