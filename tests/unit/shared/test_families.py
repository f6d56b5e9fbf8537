"""Which models are trained in packed rows, by the layers that their configuration names."""

import json

import pytest

from shared.errors import UserError
from shared.families import chosen_packing

FULL = ["full_attention"] * 2
WINDOWS = ["full_attention", "sliding_attention"]
STATES = ["linear_attention", "full_attention"]


def folder_of(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"} | config))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "packed"),
        ({"use_sliding_window": False}, "packed"),
        ({"use_sliding_window": True}, "replicated"),
        ({"text_config": {"layer_types": FULL}}, "packed"),
        ({"text_config": {"layer_types": WINDOWS}}, "replicated"),
        ({"text_config": {"layer_types": STATES}}, "replicated"),
        # Named, but no layer has one.
        ({"text_config": {"use_sliding_window": True, "layer_types": FULL}}, "packed"),
    ],
)
def test_the_layers_decide(tmp_path, config, expected):
    folder = folder_of(tmp_path, **config)

    assert chosen_packing(folder, "auto") == expected
    assert chosen_packing(folder, "replicated") == "replicated"


def test_packed_rows_are_refused_where_a_layer_cannot_take_their_mask(tmp_path):
    folder = folder_of(tmp_path, text_config={"layer_types": STATES})

    with pytest.raises(UserError) as caught:
        chosen_packing(folder, "packed")

    assert str(caught.value) == (
        f"trainer.packing: the model in {folder} has layers (linear_attention) that cannot take "
        "the mask of a packed row; set it to auto or replicated"
    )
    assert chosen_packing(folder_of(tmp_path), "packed") == "packed"
