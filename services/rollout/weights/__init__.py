"""New weights: noticed, fetched, and loaded into the running engine."""
