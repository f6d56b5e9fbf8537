"""``perl-rl view``: local pages that show what a run does, from its folder alone (docs/view.md)."""
