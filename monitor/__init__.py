"""The monitoring stage: drift checks, retrain policy, and Prometheus metrics."""
