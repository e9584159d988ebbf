"""Chooses the engine for a request: the routing table, traffic splitting and load balancing."""
