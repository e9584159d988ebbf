"""Long suites of crashes, attacks and races; each is a program of its own."""
