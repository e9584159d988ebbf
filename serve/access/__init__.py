"""API keys, rate limits and backpressure."""
