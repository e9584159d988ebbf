"""What the demo is made of: its world, base model, load, steps and claims."""
