"""End to end against TRL's `GRPOTrainer`: `python -m bench.trl`."""
