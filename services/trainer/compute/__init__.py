"""From scored groups to gradients: tensors in, tensors out; no Redis."""
