"""How new weights travel from the trainer to the rollout nodes: `python -m bench.weights`."""
