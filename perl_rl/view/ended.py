"""What the pages take of ``summary.json``, of this release or an earlier one."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import UserError
from shared.jsonlines import parse_json
from shared.problems import first_problem


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Groups(_Part):
    """The ledger at the end."""

    issued: int
    trained: int
    dropped: dict[str, int]
    in_flight: int
    skipped: dict[str, int] = {}


class EndedNode(_Part):
    """The last state of a node."""

    name: str
    kind: str
    version: str | None = Field(default=None, pattern=r"^\d+\.\d+$")
    done: int = 0
    tokens: int | None = None
    restarts: int | None = None


class Summary(_Part):
    """How a run ended."""

    outcome: str
    groups: Groups | None = None
    nodes: list[EndedNode] = []
    wall_s: float | None = Field(default=None, allow_inf_nan=False)
    dtype: str | None = None
    device: str | None = None


def read_summary(folder: Path) -> Summary | None:
    """The summary of the run in `folder`; None when there is none.

    Raises:
        UserError: when it is not whole, or something else.
    """
    file = folder / "summary.json"
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); delete it") from None
    try:
        return Summary.model_validate(content)
    except ValidationError as error:
        problem = first_problem(error, Summary)
        raise UserError(f"{file}: is no summary of a run ({problem}); delete it") from None
