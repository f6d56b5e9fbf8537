"""``perl-rl show``: one group of a run's record as text (docs/record.md), 100 columns wide."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

import pyarrow.dataset as ds

from perl_rl.changes import pieces
from shared.errors import UserError
from shared.named_folders import RUN_CONFIGS, RUNS, run_config
from shared.records.groups import group_files, groups_folder, read_groups
from shared.words import amount

WIDTH = 100
_LONGEST = 600
"""Characters of a response that are shown without ``--full``."""

_NUMBER = re.compile(r"g?(\d+)((?:\.\d+)?)")

Row = dict[str, Any]


def show(group: str, run: Path | None, full: bool) -> str:
    """The group as text.

    Args:
        group: its id; zeros and the letter may be left out: ``12`` is ``g00000012``.
        run: the run's folder; default: the folder in ``runs`` that was recorded to last.
        full: show long responses whole.

    Raises:
        UserError: when there is no such group, or the record cannot be read.
    """
    folder = run if run is not None else _last_run()
    if not _files(folder):
        run_config(folder, names=RUN_CONFIGS)
    name = _full_name(group)
    row = _find(folder, name)
    return "\n".join(line.rstrip() for line in _lines(row, full))


def _last_run() -> Path:
    recorded = [(files[-1].stat().st_mtime, one) for one in _runs() if (files := _files(one))]
    if not recorded:
        raise UserError(f"{RUNS}: holds no run with recorded groups; name its folder with --run")
    return max(recorded)[1]


def _runs() -> list[Path]:
    return sorted(RUNS.iterdir()) if RUNS.is_dir() else []


def _files(run: Path) -> list[Path]:
    return group_files(groups_folder(run))


def _full_name(group: str) -> str:
    match = _NUMBER.fullmatch(group)
    return group if match is None else f"g{int(match[1]):08d}{match[2]}"


def _find(folder: Path, name: str) -> Row:
    rows = read_groups(folder, where=ds.field("group_id") == name).to_pylist()
    if rows:
        return dict(rows[0])
    known = read_groups(folder, ["group_id", "step"])
    ids = known["group_id"].to_pylist()
    steps = known["step"].to_pylist()
    raise UserError(
        f"{folder}: no record of group {name}; there are {len(ids)} groups of steps {steps[0]} to "
        f"{steps[-1]}, such as {ids[-1]}"
    )


def _lines(row: Row, full: bool) -> Iterator[str]:
    yield from _head(row)
    for order in range(row["orders"]):
        yield ""
        yield from _order(row, order)
        for index, shown in enumerate(row["response_order"]):
            if shown == order:
                yield from _response(row, index, full)


def _head(row: Row) -> Iterator[str]:
    what = f"in step {row['step']}" if row["reason"] is None else f"({row['reason']})"
    yield _fitted(f"{row['group_id']}  {row['status']} {what}", f"sample {row['sample_id']}")
    if row["detail"]:
        yield from _wrapped(row["detail"], 2)
    facts = [
        f"kind {row['kind']}",
        f"order rule {row['rule'] or 'none'}",
        f"source {row['source']}" if row["source"] else "",
        _versions(row["oldest_step"], row["newest_step"]),
    ]
    yield from _wrapped(", ".join(one for one in facts if one), 2)
    yield from _wrapped(_scores(row), 2)
    yield from _wrapped(_times(row), 2)


def _scores(row: Row) -> str:
    if row["accuracy"] is None:
        return "not scored"
    flipped = {True: "the answer flips between orders", False: "the same answer in every order"}
    facts = [
        f"accuracy {row['accuracy']:.2f} (worst order {row['worst_accuracy']:.2f})",
        f"reward {row['reward']:.3f} +- {row['reward_std']:.3f}",
        flipped.get(row["flipped"], ""),
        f"{row['truncated']} cut off" if row["truncated"] else "",
        "" if row["mismatch"] is None else f"mismatch {row['mismatch']:.4f} nats",
    ]
    return ", ".join(one for one in facts if one)


def _times(row: Row) -> str:
    if row["issued_at"] is None:
        return f"settled {row['settled_at']:%Y-%m-%d %H:%M:%S} UTC"
    issued = row["issued_at"]
    facts = [f"issued {issued:%Y-%m-%d %H:%M:%S} UTC"]
    if row["scored_at"] is not None:
        facts.append(f"scored {(row['scored_at'] - issued).total_seconds():.1f} s later")
    facts.append(f"settled {(row['settled_at'] - issued).total_seconds():.1f} s later")
    return ", ".join(facts)


def _order(row: Row, order: int) -> Iterator[str]:
    permutation = row["order_permutation"][order]
    places = " ".join(str(place + 1) for place in permutation) or "none"
    moved = permutation != sorted(permutation)
    facts = [
        f"order {order}{'' if moved else ' (original)'}",
        f"images {places}{' with noise' if row['order_noisy'][order] else ''}",
        f"gold {printable(row['order_answer'][order])}",
    ]
    accuracy, node = row["order_accuracy"][order], row["order_node"][order]
    majority = row["order_majority"][order]
    if accuracy is not None:
        facts.append(f"accuracy {accuracy:.2f}")
    if majority is not None:
        facts.append(f"mostly {printable(majority)} in the original order")
    facts.append("not sampled" if node is None else node)
    yield from _wrapped(", ".join(facts), 0)
    question = row["order_question"][order]
    shown = with_changes(row["question"], question) if order and moved else question
    for line in printable(shown).split("\n"):
        yield from _wrapped(line, 4)


def with_changes(original: str, question: str) -> str:
    """The question with each changed word as ``[before -> now]``."""
    return "".join(
        f"[{piece.before} -> {piece.now}]" if piece.changed else piece.now
        for piece in pieces(original, question)
    )


def _response(row: Row, index: int, full: bool) -> Iterator[str]:
    # A column may be null as a whole: a group that was not scored completely has no advantages.
    one = {name: (row[f"response_{name}"] or {index: None})[index] for name in _SHOWN}
    yield from _wrapped(_judgement(one), 2)
    text = printable(one["text"])
    if not full and len(text) > _LONGEST:
        left_out = len(text) - _LONGEST
        half = _LONGEST // 2
        text = f"{text[:half]} [... {left_out} characters, --full shows them ...] {text[-half:]}"
    for line in text.split("\n"):
        yield from _wrapped(line, 6)


_SHOWN = (
    *("index", "text", "answer", "original_answer", "reward", "accuracy", "format", "penalty"),
    *("advantage", "advantage_per_order", "tokens", "finish"),
)


def _judgement(one: Row) -> str:
    facts = [f"{one['index']}:"]
    if one["reward"] is None:
        facts.append("not scored")
    else:
        answer = "no answer" if one["answer"] is None else printable(one["answer"])
        if one["original_answer"] not in (None, one["answer"]):
            answer += f" = {printable(one['original_answer'])} in the original order"
        facts.append(f"{'right' if one['accuracy'] >= 1 else 'wrong'}, {answer},")
        penalty = f", penalty {one['penalty']:.3g}" if one["penalty"] else ""
        parts = f"accuracy {one['accuracy']:.3g}, format {one['format']:.3g}{penalty}"
        facts.append(f"reward {one['reward']:.3g} ({parts}),")
    if one["advantage"] is not None:
        facts.append(f"advantage {one['advantage']:+.2f}")
        facts.append(f"(its order {one['advantage_per_order']:+.2f}),")
    facts.append(
        f"{amount(one['tokens'], 'token')}{', cut off' if one['finish'] == 'length' else ''}"
    )
    return " ".join(facts)


def _versions(oldest: int | None, newest: int | None) -> str:
    if oldest is None:
        return "not sampled"
    return f"policy {oldest}" if oldest == newest else f"policy {oldest} to {newest}"


def printable(text: str) -> str:
    """The text with control characters spelled out, line ends excepted: a terminal obeys them."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


def _fitted(left: str, right: str) -> str:
    right = printable(right)
    room = WIDTH - len(left)
    return left + right.rjust(room) if len(right) < room else f"{left}  {right}"


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    # A word may be longer than a line, as in Chinese.
    lines = wrap(text, WIDTH, initial_indent=space, subsequent_indent=f"{space}  ")
    return lines or [""]
