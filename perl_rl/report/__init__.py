"""What is said about a run while it lasts and when it has ended."""
