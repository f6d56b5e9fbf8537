"""The rollout service: vLLM samples with the current policy and takes new weights in flight."""
