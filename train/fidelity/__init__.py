"""Two forms of one model become how far the second is from the first."""
