"""The command line: commands and options, and the small commands; large ones have folders."""
