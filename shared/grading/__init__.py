"""Finds the final answer in a response and compares it with the gold answer."""
