"""Noise on the sampler's images: how much, where, and always the same."""

import io

import numpy as np
import pytest
from PIL import Image

from services.trainer.plan.augmentation import distorted, noisy_orders, strength_at
from shared.config.questions import NoiseConfig
from tests.builders import task

GREY = Image.new("RGB", (60, 40), (128, 128, 128))


def values(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)), dtype=float)


def test_noise_has_the_strength_asked_for_and_keeps_the_size() -> None:
    noisy = values(distorted(GREY, 0.1, seed=5, name="ab"))
    assert noisy.shape == (40, 60, 3)
    assert noisy.mean() == pytest.approx(128, abs=2)
    assert noisy.std() == pytest.approx(25.5, rel=0.05)


def test_noise_depends_on_seed_and_image_alone() -> None:
    first = distorted(GREY, 0.1, 5, "ab")
    assert first == distorted(GREY, 0.1, 5, "ab")
    assert first != distorted(GREY, 0.1, 6, "ab")
    assert first != distorted(GREY, 0.1, 5, "cd")


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [("constant", 0.2, 0.2, 0.2), ("linear", 0.2, 0.1, 0.0), ("sigmoid", 0.2, 0.1, 0.0)],
)
def test_strength_over_training(schedule: str, start: float, middle: float, end: float) -> None:
    noise = NoiseConfig.model_validate({"strength": 0.2, "schedule": schedule})
    found = [strength_at(noise, progress) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([start, middle, end], abs=1e-6)


def test_a_share_of_the_orders_is_noisy_and_always_the_same() -> None:
    noise = NoiseConfig(share=0.5)
    drawn = [noisy_orders(noise, 4, 7, f"s{index}", 0) for index in range(50)]
    assert {len(orders) for orders in drawn} == {2}
    assert set().union(*drawn) == {0, 1, 2, 3}
    assert drawn == [noisy_orders(noise, 4, 7, f"s{index}", 0) for index in range(50)]
    assert noisy_orders(NoiseConfig(), 4, 7, "s", 0) == set()


def test_training_sees_the_clean_images() -> None:
    assert task(images=("a", "b")).trained_images() == ("a", "b")
    assert task(images=("x", "y"), clean_images=("a", "b")).trained_images() == ("a", "b")
