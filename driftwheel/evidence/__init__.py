"""What speaks for one version against another: comparisons, fingerprints, people's judgement, intervals."""
