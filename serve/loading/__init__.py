"""Loading an endpoint: what asks it, what came out as a table, and as a picture."""
