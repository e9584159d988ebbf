"""HTTP/1.1 for the gateway: requests read from connections, and answers written to them."""
