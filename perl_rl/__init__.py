"""The command line: local launcher, demo, evaluation and data preparation."""
