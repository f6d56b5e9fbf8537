"""The three services: each folder is one process; they talk over HTTP and Redis only."""
