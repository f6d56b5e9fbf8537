"""One DeepSpeed rank: the training loop and what it does with Redis and the disk."""
