"""What the first GPU that the project meets has to prove; `python -m bench.gpu` runs all stages."""
