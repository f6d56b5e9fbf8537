"""perl-rl launch: every service of a run on this machine, from start to end."""
