"""Studies: several configurations over several seeds, compared with intervals."""
