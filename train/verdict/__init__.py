"""Tables, slices and arithmetic that the gate decides by, and the model card."""
