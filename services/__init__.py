"""The three services; each folder is one process and talks to the others over HTTP and Redis only."""
