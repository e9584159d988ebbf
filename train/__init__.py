"""The training stage: data, fine-tuning, quantizing, evaluation, gate and publication."""
