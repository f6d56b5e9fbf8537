"""What every HTTP service is made of: app, token, limits, connection to Redis, start and end."""
