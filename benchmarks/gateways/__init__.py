"""Gateways side by side: their set-up, the engine behind them, and the client in front."""
