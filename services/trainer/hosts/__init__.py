"""The worker hosts of a trainer that spans several: they join, follow host 0 and run ranks."""
