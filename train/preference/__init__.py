"""Learns from what people thought of answers: DPO and KTO."""
