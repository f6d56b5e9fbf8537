"""Advantages of a group's responses (PeRL, arXiv 2506.14907, section 3)."""

import numpy as np


def pooled_advantages(rewards: np.ndarray, eps: float) -> np.ndarray:
    """Normalise rewards by one mean and one population standard deviation over all orders.

    ``A = (r - mean(r)) / (std(r) + eps)``, both over all ``(n_s + 1) * n`` responses of the group:
    an answer is compared with the answers to every order of the same images.

    Args:
        rewards: (S,) total reward of each response of the group, all orders together.

    Returns:
        (S,) float64.
    """
    return (rewards - rewards.mean()) / (rewards.std() + eps)
