"""The command line: one file a command; the larger ones have folders of their own."""
