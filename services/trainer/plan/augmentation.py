"""Noise on the images of some orders: the sampler sees noisy pictures, the trainer clean ones.

After NoisyRollout (arXiv 2504.13055): answers to noisy pictures make a group explore more. The
noise fades over training, so that sampler and trainer agree at the end. Here it is additive
Gaussian noise on RGB values; a picture keeps its size, and with it its number of image tokens.
"""

import io
import math

import numpy as np
from PIL import Image

from shared.config.questions import NoiseConfig
from shared.seeds import derive, generator

_STEEPNESS = 30.0
_MIDDLE = 0.5


def strength_at(noise: NoiseConfig, progress: float) -> float:
    """Standard deviation of the noise, as a fraction of the range of values.

    Args:
        progress: fraction of the training steps done, 0 to 1.
    """
    if noise.schedule == "constant":
        return noise.strength
    if noise.schedule == "linear":
        return noise.strength * (1.0 - progress)
    return noise.strength / (1.0 + math.exp(_STEEPNESS * (progress - _MIDDLE)))


def noisy_orders(
    noise: NoiseConfig, orders: int, seed: int, sample_id: str, epoch: int
) -> set[int]:
    """Which orders of a group are sampled with noise: ``share`` of them, rounded."""
    rng = generator(seed, "noisy orders", sample_id, epoch)
    return set(rng.sample(range(orders), round(noise.share * orders)))


def distorted(picture: Image.Image, strength: float, seed: int, name: str) -> bytes:
    """A picture with noise of standard deviation ``255 * strength``, as PNG.

    Args:
        name: SHA-256 of the clean image; it and the seed determine the noise.
    """
    rng = np.random.default_rng(derive(seed, "noise", name))
    values = np.asarray(picture, dtype=np.float32)
    noisy = values + rng.normal(0.0, 255.0 * strength, values.shape)
    out = io.BytesIO()
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(
        out, "PNG", compress_level=1
    )
    return out.getvalue()
