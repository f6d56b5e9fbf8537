"""The model families that can be trained: the one list of them.

A family is here when its log-probabilities in the trainer equal the sampler's; any other model
would train without an error, on wrong numbers.
"""

import json
from pathlib import Path

from shared.errors import UserError

FAMILIES = {"qwen2_5_vl": "Qwen2.5-VL"}
"""The ``model_type`` in a model's ``config.json``, and the family's name."""


def check_family(folder: Path) -> str:
    """The ``model_type`` of the model in `folder`.

    Raises:
        UserError: when ``config.json`` cannot be read, or the model is of no family in `FAMILIES`.
    """
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kind, classes = content.get("model_type"), content.get("architectures") or ["no class"]
    except OSError as error:
        raise UserError(
            f"model.path {folder}: cannot read config.json ({error.strerror})"
        ) from None
    except (ValueError, AttributeError):
        raise UserError(f"{file}: is not a model's configuration; copy the model again") from None
    if kind not in FAMILIES:
        supported = ", ".join(f"{name} ({key})" for key, name in FAMILIES.items())
        named = f"'{kind}' ({classes[0]})" if kind else "none (config.json has no model_type)"
        raise UserError(
            f"model.path {folder}: the model family {named} is not supported; supported are: "
            f"{supported}"
        )
    return str(kind)
