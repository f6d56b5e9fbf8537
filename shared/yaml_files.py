"""The kinds of YAML files that commands take, told from one another by their keys."""

from typing import Any, Literal

Kind = Literal["run", "prepare", "study"]

_KINDS: dict[Kind, tuple[set[str], str]] = {
    "run": ({"model", "data"}, "configures a run (perl-rl check, perl-rl launch)"),
    "prepare": ({"input", "work"}, "prepares data (perl-rl data prepare)"),
    "study": ({"arms", "config"}, "describes a study (perl-rl study)"),
}
"""The keys that only files of a kind have, and what such a file does."""


def meant_for(content: Any, wanted: Kind) -> str:
    """What a refused file is for, and with which command, when it is of another kind; else empty.

    Args:
        content: of the file.
        wanted: the kind that was asked for.
    """
    if not isinstance(content, dict):
        return ""
    for kind, (marks, words) in _KINDS.items():
        if kind != wanted and marks <= content.keys():
            return f"this file {words}; name one that {_KINDS[wanted][1]}"
    return ""
