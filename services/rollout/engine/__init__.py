"""The vLLM engine: how it starts, how a prompt task is sampled with it."""
