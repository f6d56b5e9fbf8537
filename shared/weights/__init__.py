"""The format of published weights."""
