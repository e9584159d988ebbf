"""Shadow traffic: a candidate is asked what users asked, and its answers are only compared."""
