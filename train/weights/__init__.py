"""Model files: adapters, merged models, and quantized checkpoints."""
