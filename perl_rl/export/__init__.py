"""``perl-rl export``: the policy of a checkpoint as a model folder."""
