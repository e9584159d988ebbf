"""What tests, suites and benchmarks share: fakes, planted bugs, and servers."""
