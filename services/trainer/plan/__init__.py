"""What each group asks: pure functions of the seed and the group's number."""
