"""The pool of real grader processes: cancellations and failures beside a worker that starts."""

import asyncio
import io
import json
from pathlib import Path

import psutil
import pytest

from perl_rl.cli.score import score_file
from shared.config import RewardConfig
from shared.errors import UserError
from shared.grading.grade import UngradableGold, grade, step_shares
from shared.grading.pool import GraderPool
from shared.together import together

_AT_MOST_S = 20.0


async def test_a_failing_sibling_ends_a_worker_that_is_being_started() -> None:
    before = set(psutil.Process().children())
    async with asyncio.timeout(_AT_MOST_S), GraderPool(RewardConfig(workers=2)) as pool:
        with pytest.raises(UngradableGold, match="seven"):
            await together(
                [
                    grade(r"\frac{1}{2}+x", r"x+\frac12", "math", pool),
                    grade("3", "seven", "number", pool),
                ]
            )
        assert await pool.equal([("x+1", "1+x")])
    assert set(psutil.Process().children()) == before


@pytest.mark.parametrize("turns", range(1, 12, 2))
async def test_a_question_that_is_cancelled_while_its_worker_starts_ends(turns: int) -> None:
    async with asyncio.timeout(_AT_MOST_S), GraderPool(RewardConfig(workers=1)) as pool:
        asking = asyncio.ensure_future(pool.equal([("x+1", "1+x")]))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        assert await pool.equal([("x+1", "1+x")])


async def test_a_pool_that_is_cancelled_while_all_workers_start_ends() -> None:
    before = set(psutil.Process().children())
    async with asyncio.timeout(_AT_MOST_S), GraderPool(RewardConfig(workers=3)) as pool:
        starting = asyncio.ensure_future(pool.start())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait({starting})
    assert set(psutil.Process().children()) == before


async def test_steps_are_cancelled_together() -> None:
    async with asyncio.timeout(_AT_MOST_S), GraderPool(RewardConfig(workers=2)) as pool:
        shares = asyncio.ensure_future(step_shares("(1) x+1; (2) y", "(1) 1+x; (2) y+0", pool))
        await asyncio.sleep(0)
        shares.cancel()
        await asyncio.wait({shares})
        assert shares.cancelled()


def test_a_line_that_cannot_be_graded_is_named_beside_lines_that_start_graders(
    tmp_path: Path,
) -> None:
    lines = [
        {"response": r"\boxed{\frac{1}{2}+x}", "answer": r"x+\frac12", "kind": "math"},
        {"response": r"\boxed{3}", "answer": "seven", "kind": "number"},
        {"response": r"\boxed{y+x}", "answer": "x+y", "kind": "math"},
    ]
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match=r"lines\.jsonl, line 2, field 'answer': .*'seven'"):
        score_file(file, io.StringIO())
