"""The columns of what a run writes about itself."""
