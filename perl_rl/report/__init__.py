"""Progress of a run, evaluation of its models, and its summary."""
