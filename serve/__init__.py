"""The serving stage: the gateway, its engines, and the releases of versions."""
