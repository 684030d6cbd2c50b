"""Published checkpoints: their names for our tensors, reading, loading and writing them."""
