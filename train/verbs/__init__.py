"""One verb of `python -m train` is one module with add_arguments and main."""
