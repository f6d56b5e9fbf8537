"""How much memory each process of a run needs, from the model's ``config.json`` alone."""
