"""Asks models at endpoints: the HTTP client, a vLLM engine for one evaluation, and a progress bar."""
