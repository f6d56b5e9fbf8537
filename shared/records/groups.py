"""The columns of a group's record: ``RUN/groups/*.parquet``, one row for each settled group.

What an order or a response says is in lists of equal length: all ``order_`` columns of a row have
one element for each order, all ``response_`` columns one for each response, order by order. So a
reader can load the columns that it needs alone, and ``explode`` (pandas) or ``unnest`` (DuckDB)
makes one row for each response. ``docs/record.md`` takes each column's meaning from here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from shared.errors import UserError
from shared.images import FORMATS
from shared.named_folders import run_folder

SCHEMA_VERSION = 1
"""Raise it when a column is removed, renamed or changes its meaning or type; a column may be added
without, because files that lack it are read with nulls."""

TRAINED, DROPPED, SKIPPED = "trained", "dropped", "skipped"
"""What ``status`` may say. A skipped group was never sampled."""

_VERSION_KEY = b"perl_record_schema"
_TRIES = 5
_FILE = re.compile(r"step-(\d{8})-(\d{4})\.parquet")

_text = pa.string()
_flag, _float, _int, _small = pa.bool_(), pa.float32(), pa.int32(), pa.int16()
_time = pa.timestamp("ms", tz="UTC")


def _each(kind: pa.DataType) -> pa.DataType:
    return pa.list_(kind)


@dataclass(frozen=True)
class Column:
    """One column: its name, its type in Arrow, and what it holds."""

    name: str
    type: pa.DataType
    meaning: str


GROUP_COLUMNS = (
    Column("run", _text, "Name of the run."),
    Column("group_id", _text, "The group's name in the run; unique in the history that survives."),
    Column(
        "step",
        _int,
        "Trained: the step that trained it. Dropped or skipped: the step that was being collected.",
    ),
    Column("status", _text, "`trained`, `dropped` or `skipped`."),
    Column("reason", _text, "Why it was dropped or skipped; null when it was trained."),
    Column("detail", _text, "More about the reason, in words; null when there is no more to say."),
    Column("incarnation", _int, "Which start of the trainer settled it, counted from 1."),
    Column("issued_step", _int, "Policy version that was current when the group was issued."),
    Column("issued_at", _time, "When the feeder issued it."),
    Column(
        "scored_at",
        _time,
        "When its last order was scored and it was handed to the trainer; null "
        "when it was dropped before.",
    ),
    Column(
        "settled_at",
        _time,
        "When it was dropped, or the version that it trained was announced.",
    ),
    Column("sample_id", _text, "The sample that it asks: the same in all steps that asked it."),
    Column("source", _text, "The sample's source."),
    Column("kind", _text, "How the answer is compared: `letter`, `number`, ... (docs/rewards.md)."),
    Column("rule", _text, "How the gold answer changes when images move; null when unknown."),
    Column("question", _text, "The question in the original order, with one `<image>` an image."),
    Column("answer", _text, "The gold answer in the original order."),
    Column("images", _each(_text), "SHA-256 of each image in the original order, without noise."),
    Column("orders", _small, "How many orders it has; the first is the original order."),
    Column("responses", _small, "How many responses were sampled."),
    Column("reward", _float, "Mean total reward; null without a scored response."),
    Column("reward_std", _float, "Standard deviation of the total rewards (population)."),
    Column("accuracy", _float, "Share of right answers."),
    Column("worst_accuracy", _float, "Share of right answers under the worst order."),
    Column("format", _float, "Share of well-formed responses."),
    Column(
        "flipped",
        _flag,
        "Whether the most frequent answer, mapped back to the original order, differs between two "
        "orders; null with fewer than two orders that have answers.",
    ),
    Column("truncated", _small, "Responses that were cut off at `sampling.max_tokens`."),
    Column("tokens", _int, "Sampled tokens in all."),
    Column("oldest_step", _int, "Oldest policy version that sampled a token of the group."),
    Column("newest_step", _int, "Newest policy version that did."),
    Column(
        "mismatch",
        _float,
        "Mean absolute difference between the log-probabilities of sampler and trainer, in nats, "
        "over the tokens that the trained version had sampled itself; null without such tokens.",
    ),
)

ORDER_COLUMNS = (
    Column(
        "order_permutation",
        _each(_each(_small)),
        "For each place, the original index of the image that is shown there.",
    ),
    Column("order_question", _each(_text), "The question rewritten for this order."),
    Column("order_answer", _each(_text), "The gold answer in this order."),
    Column("order_images", _each(_each(_text)), "SHA-256 of each image as the sampler saw it."),
    Column("order_noisy", _each(_flag), "Whether the sampler saw the images with noise."),
    Column("order_node", _each(_text), "The rollout node; null when the order was not sampled."),
    Column("order_prompt_tokens", _each(_int), "Tokens of the prompt, images included."),
    Column(
        "order_patches",
        _each(_each(_each(_small))),
        "For each image, the rows and columns of patches that the model cut it into.",
    ),
    Column("order_reward", _each(_float), "Mean total reward."),
    Column("order_accuracy", _each(_float), "Share of right answers."),
    Column(
        "order_majority",
        _each(_text),
        "The most frequent answer, mapped back to the original order; null without answers.",
    ),
    Column("order_sampled_s", _each(_float), "Seconds from the request to the last token."),
    Column("order_scored_s", _each(_float), "Seconds of grading."),
)

RESPONSE_COLUMNS = (
    Column("response_order", _each(_small), "Which order it answers, from 0."),
    Column("response_index", _each(_small), "Its number among that order's responses, from 0."),
    Column("response_text", _each(_text), "The text."),
    Column("response_answer", _each(_text), "The final answer found in it; null when none is."),
    Column(
        "response_original_answer",
        _each(_text),
        "The same answer mapped back to the original order.",
    ),
    Column("response_reward", _each(_float), "Total reward; null when it was not scored."),
    Column("response_accuracy", _each(_float), "Reward for a right answer."),
    Column("response_format", _each(_float), "Reward for the right form."),
    Column("response_penalty", _each(_float), "Length penalty in the total, 0 or negative."),
    Column(
        "response_advantage",
        _each(_float),
        "The advantage that `trainer.objective` gives it, also where the group was dropped; null "
        "when `trainer.selection` left it out, or a response of the group was not scored.",
    ),
    Column(
        "response_advantage_pooled",
        _each(_float),
        "Its advantage compared with the whole group (`advantage: pooled`).",
    ),
    Column(
        "response_advantage_per_order",
        _each(_float),
        "Its advantage compared with its own order (`advantage: per_order`).",
    ),
    Column(
        "response_trained",
        _each(_flag),
        "Whether it was trained on: `trainer.selection` leaves some responses out.",
    ),
    Column("response_finish", _each(_text), "`stop`, or `length` when it was cut off."),
    Column("response_tokens", _each(_int), "Its length in tokens."),
    Column("response_oldest_step", _each(_int), "Oldest policy version of its tokens."),
    Column("response_newest_step", _each(_int), "Newest policy version of its tokens."),
    Column("response_mismatch", _each(_float), "As `mismatch`, over the tokens of this response."),
    Column(
        "response_token_ids",
        _each(_each(_int)),
        "Its token ids; this column and the next three are null with `record.tokens: false`.",
    ),
    Column("response_token_steps", _each(_each(_int)), "Policy version that sampled each token."),
    Column(
        "response_sampler_logprobs",
        _each(_each(_float)),
        "Log-probability of each token when it was sampled, in nats.",
    ),
    Column(
        "response_trainer_logprobs",
        _each(_each(_float)),
        "The trainer's log-probability of each token when it was trained on; null when it was not.",
    ),
)

COLUMNS = (*GROUP_COLUMNS, *ORDER_COLUMNS, *RESPONSE_COLUMNS)

SCHEMA = pa.schema(
    [pa.field(one.name, one.type) for one in COLUMNS],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

Row = Mapping[str, Any]
"""One group: column name to value, lists as Python lists; a missing column is null."""


def groups_folder(run_dir: Path) -> Path:
    """Where a run's groups are: ``RUN/groups``."""
    return run_dir / "groups"


def lost_folder(run_dir: Path) -> Path:
    """Where the groups of lost histories are, which a resumed run settled again.

    Beside the folder of the groups, because pandas and `datasets` read a folder with all below it.
    """
    return run_dir / "groups.lost"


def images_folder(run_dir: Path) -> Path:
    """Where the recorded images are. ``RUN/images`` itself has those of the data files."""
    return run_dir / "images" / "shown"


def image_file(run_dir: Path, digest: str) -> Path | None:
    """The file of the recorded image with this SHA-256; None when it is not kept."""
    folder = images_folder(run_dir)
    names = (folder / f"{digest}.{kind.lower()}" for kind in FORMATS)
    return next((file for file in names if file.is_file()), None)


def file_name(step: int, part: int) -> str:
    """The name of one file of a step; a step has several parts when its groups settle slowly."""
    return f"step-{step:08d}-{part:04d}.parquet"


def step_and_part(file: Path) -> tuple[int, int] | None:
    """What `file_name` made the name from; None for any other name."""
    return parts_of_name(file.name)


def parts_of_name(name: str) -> tuple[int, int] | None:
    """What `file_name` made this name from; None for any other name."""
    match = _FILE.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]))


def group_files(folder: Path) -> list[Path]:
    """The files of a folder of groups, in the order of their steps; none when it is not there."""
    return sorted(file for file in folder.glob("step-*.parquet") if step_and_part(file))


def as_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as a table with all columns.

    Raises:
        ValueError: when a row has a column that does not exist.
    """
    known = set(SCHEMA.names)
    for row in rows:
        unknown = [name for name in row if name not in known]
        if unknown:
            raise ValueError(f"no such column of a group's record: {', '.join(unknown)}")
    arrays = [pa.array([row.get(one.name) for row in rows], one.type) for one in COLUMNS]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write_table(table: pa.Table, file: Path) -> None:
    """Write the file; use `shared.files.scratch_for` where others may read it meanwhile."""
    pq.write_table(table, file, compression="zstd", compression_level=1)


def read_groups(
    run_dir: Path,
    columns: Sequence[str] | None = None,
    where: ds.Expression | None = None,
    lost: bool = False,
) -> pa.Table:
    """The recorded groups of a run, in the order of their steps.

    Args:
        columns: the ones to read; default: all.
        where: only rows of which this is true.
        lost: read the groups of lost histories instead.

    Raises:
        UserError: when the folder is no run, has no groups, or a file of it cannot be read.
    """
    run_folder(run_dir)
    folder = lost_folder(run_dir) if lost else groups_folder(run_dir)
    for _ in range(_TRIES):
        files = group_files(folder)
        if not files:
            break
        try:
            return _read(files, columns, where)
        except FileNotFoundError:
            # A live run has deleted an old step meanwhile.
            continue
    raise UserError(
        f"{run_dir}: no recorded groups (no {folder.name}/step-*.parquet that can be read); name "
        "the folder of a run that has settled groups, with record.share above 0"
    )


def _read(
    files: Sequence[Path], columns: Sequence[str] | None, where: ds.Expression | None
) -> pa.Table:
    for file in files:
        check_file(file)
    source = ds.dataset(list(map(str, files)), format="parquet", schema=SCHEMA)
    return source.to_table(columns=None if columns is None else list(columns), filter=where)


def check_file(file: Path) -> None:
    """Check that a file is whole and has columns that this release reads.

    Raises:
        UserError: when it is not.
        FileNotFoundError: when it is not there.
    """
    open_file(file).close()


def open_file(file: Path) -> pq.ParquetFile:
    """A file of groups, checked as by `check_file`."""
    try:
        opened = pq.ParquetFile(file)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise UserError(f"{file}: not a whole Parquet file ({reason}); delete it") from None
    version = (opened.schema_arrow.metadata or {}).get(_VERSION_KEY, b"none").decode()
    if version != str(SCHEMA_VERSION):
        opened.close()
        raise UserError(
            f"{file}: columns of version {version}, this release reads version {SCHEMA_VERSION}; "
            "read it with the release that wrote it"
        )
    return opened


def referenced_images(tables: Iterable[pa.Table]) -> set[str]:
    """The SHA-256 of all images that these rows show."""
    found: set[str] = set()
    for table in tables:
        for name in ("images", "order_images"):
            for chunk in table[name].chunks:
                flat = chunk.flatten()
                flat = flat.flatten() if pa.types.is_list(flat.type) else flat
                found.update(flat.unique().to_pylist())
    return found
