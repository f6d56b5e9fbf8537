"""The process that sends published weights to the rollout nodes."""
