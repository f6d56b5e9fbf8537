"""The reward service: scores answers, assembles the orders of a group, filters groups."""
