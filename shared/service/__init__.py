"""What services share: app, token, limits, Redis connection, stream worker, start and end."""
