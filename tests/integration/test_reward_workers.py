"""Real grader processes: equal expressions, hostile answers, and a pool that stays usable."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from services.reward.rules import accuracy_and_format
from services.reward.scoring import RewardContext
from shared.config import RewardConfig
from shared.errors import UserError, WaitTimeout
from shared.grading.pool import GraderPool, Outcome
from shared.wire.messages import Reward

Ask = Callable[[str, str], Awaitable[float]]

# An outer bound on what a grade may take, replacement of its process included.
BOUND_S = 60.0

ROOTS = (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}")
"""Equal, and no comparison of plain numbers: only the process can tell."""


class Pool(GraderPool):
    """A pool that remembers the outcomes."""

    def __init__(self, **settings: float) -> None:
        self.outcomes: list[Outcome] = []
        super().__init__(RewardConfig(**settings), self.outcomes.append)

    async def score(self, response: str, gold: str) -> Reward:
        context = RewardContext(RewardConfig(), self)
        async with asyncio.timeout(BOUND_S):
            return await accuracy_and_format(response, gold, "math", None, context)

    async def grade(self, answer: str, gold: str) -> bool:
        return (await self.score(f"<think></think>\\boxed{{{answer}}}", gold)).accuracy == 1.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[Pool]:
    async with Pool(workers=1, grade_timeout_s=20) as pool:
        yield pool


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("0.5", r"\frac{1}{2}"),
        (r"\frac12", "1/2"),
        ("(x+1)^2", "x^2+2x+1"),
        (r"\sqrt{12}", r"2\sqrt{3}"),
        (r"\{2,1\}", r"\{1,2\}"),
        ("1,2", "1,2"),
        ("1234", "1,234"),
        (r"50\%", "50"),
        ("3", "x=3"),
        (r"12\text{ cm}", "12"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
        (r"45^\circ", "45"),
    ],
)
async def test_equal_expressions(pool: Pool, answer: str, gold: str) -> None:
    assert await pool.grade(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("0.6", r"\frac{1}{2}"),
        ("2,1", "1,2"),
        ("(2,1)", "(1,2)"),
        ("0.5", r"50\%"),
        (r"50\%", "0.5"),
        ("yse", "yes"),
        ("3.0000001", "3"),
        ("-3", "3"),
        (r"x \le 3", "x < 3"),
        ("5 or 6", "5"),
        (r"}\boxed{3", "4"),
    ],
)
async def test_different_expressions(pool: Pool, answer: str, gold: str) -> None:
    assert not await pool.grade(answer, gold)


def hostile_answers(folder: Path) -> dict[str, str]:
    return {
        "brackets": "(" * 1_900,
        "nested fractions": r"\frac{" * 300 + "1" + "}{1}" * 300,
        "power tower": "9**9**9**9",
        "LaTeX power tower": "9^{9^{9^{9}}}",
        "factorial": "(10^8)!",
        "sum": r"\sum_{i=1}^{10^9} \sin(i)",
        "expansion": "(x+y+z+w)^{500}",
        "digits": "7" * 1_990,
        "code": f"__import__('pathlib').Path('{folder}/pwned').touch()",
        "calls": f"().__class__.__base__.__subclasses__() open('{folder}/pwned','w')",
    }


async def test_hostile_answers_cost_a_bounded_time_and_score_zero(tmp_path: Path) -> None:
    async with Pool(workers=1, grade_timeout_s=1) as pool:
        for name, answer in hostile_answers(tmp_path).items():
            assert not await pool.grade(answer, "x^{501}"), name
            assert await pool.grade(*ROOTS), f"the pool is not usable after: {name}"
        assert "timeout" in pool.outcomes
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("piece", ["[", "{", "(", "\\boxed{", "\\frac{", "9^", "<think>"])
async def test_megabytes_are_not_even_read(pool: Pool, piece: str) -> None:
    asked = len(pool.outcomes)
    for response in (
        piece * 1_000_000,
        f"<think></think>\\boxed{{{piece * 1_000_000}}}",
        f"<think>{piece * 1_000_000}</think>\\boxed{{3}}",
    ):
        reward = await pool.score(response, "3")
        assert (reward.total, reward.extracted) == (0.0, None)
    assert len(pool.outcomes) == asked


async def test_a_process_that_runs_away_is_replaced() -> None:
    async with Pool(workers=1, grade_timeout_s=1) as pool:
        await pool.start()
        (first,) = pool.process_ids()
        assert not await pool.grade("9^{9^{9^{9}}}", "3")
        assert await pool.grade("3.0", "3+0")
        (second,) = pool.process_ids()
        assert second != first and not psutil.pid_exists(first)
        assert pool.outcomes == ["timeout", "equal"]
    assert not psutil.pid_exists(second)


async def test_a_process_that_is_killed_is_replaced() -> None:
    async with Pool(workers=1) as pool:
        await pool.start()
        (first,) = pool.process_ids()
        psutil.Process(first).kill()
        assert not await pool.grade(*ROOTS)
        assert await pool.grade(*ROOTS)
        assert pool.outcomes == ["crashed", "equal"]


async def test_memory_is_limited() -> None:
    async with Pool(workers=1, grade_timeout_s=30, grade_memory_mib=96) as pool:
        await pool.start()
        (process,) = pool.process_ids()
        limit, _ = psutil.Process(process).rlimit(psutil.RLIMIT_AS)
        assert limit == 96 * 2**20
        # 375 MB when computed: it is the memory that ends this, not the clock.
        assert not await pool.grade("2^{3*10^9}", "3")
        assert pool.outcomes in (["different"], ["crashed"])
        assert await pool.grade(*ROOTS)


async def test_a_cancelled_question_does_not_answer_the_next_one() -> None:
    async with Pool(workers=1, grade_timeout_s=30) as pool:
        await pool.start()
        slow = asyncio.create_task(pool.grade("9^{9^{9^{9}}}", "3"))
        (process,) = pool.process_ids()
        while psutil.Process(process).cpu_percent(interval=0.05) < 50:
            await asyncio.sleep(0)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await pool.grade(*ROOTS)


async def test_questions_of_many_callers_are_not_mixed_up(pool: Pool) -> None:
    verdicts = await asyncio.gather(
        *(pool.grade(f"{number}+{number % 3}", f"{number}") for number in range(40))
    )
    assert verdicts == [number % 3 == 0 for number in range(40)]


async def test_a_grader_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('no such library')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with Pool(workers=1) as pool:
        with pytest.raises(UserError, match="ended while it started: ImportError: no such library"):
            await pool.start()
        assert pool.process_ids() == []


async def test_a_grader_that_starts_too_slowly_is_given_up() -> None:
    async with Pool(workers=1, grader_start_timeout_s=0.01) as pool:
        with pytest.raises(WaitTimeout, match=r"reward\.grader_start_timeout_s"):
            await pool.start()
        assert pool.process_ids() == []


async def test_graders_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERL_TOKEN", "secret")
    async with Pool(workers=1) as pool:
        await pool.start()
        (process,) = pool.process_ids()
        assert "PERL_TOKEN" not in psutil.Process(process).environ()


# What a grader does to itself, and then what its network is good for.
PHONE_HOME = """
import socket, sys
from shared.grading.isolation import cut_network
print("cut" if cut_network() else "not cut", flush=True)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10).close()
    print("connected")
except OSError as error:
    print(error)
"""


def network_namespace(process: int | str) -> str:
    return os.readlink(f"/proc/{process}/ns/net")


async def test_graders_have_no_network_or_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        tried = subprocess.run(
            [sys.executable, "-c", PHONE_HOME, port],
            capture_output=True,
            text=True,
            timeout=BOUND_S,
        )
    async with Pool(workers=1) as pool:
        await pool.start()
        (grader,) = pool.process_ids()
        elsewhere = network_namespace(grader) != network_namespace("self")
        # Name, then counters, after two lines of headings.
        interfaces = Path(f"/proc/{grader}/net/dev").read_text().splitlines()[2:]
        assert await pool.grade(*ROOTS), "it grades all the same"
    if tried.stdout.startswith("cut\n"):
        assert tried.stdout == "cut\n[Errno 101] Network is unreachable\n"
        assert elsewhere
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        assert "graders keep their network access" not in caplog.text
    else:
        # The kernel forbids it: nothing is cut, and the log says so.
        assert tried.stdout == "not cut\nconnected\n", tried.stderr
        assert not elsewhere
        assert (
            "this kernel forbids user namespaces, so graders keep their network access"
            in caplog.text
        )


# A container's seccomp profile: unshare(2) is refused to this process and all it starts.
FORBIDDEN = """
import asyncio, ctypes, logging, os, platform, struct
from shared.grading.pool import GraderPool
from shared.config import RewardConfig

number = {"x86_64": 272, "aarch64": 97}[platform.machine()]
load, equal, refuse, allow = (0x20, 0, 0, 0), (0x15, 0, 1, number), 0x50001, 0x7FFF0000
rules = [load, equal, (0x06, 0, 0, refuse), (0x06, 0, 0, allow)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
libc = ctypes.CDLL(None)
head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0

async def main():
    async with GraderPool(RewardConfig(workers=1)) as pool:
        await pool.start()
        (grader,) = pool.process_ids()
        same = os.readlink(f"/proc/{grader}/ns/net") == os.readlink("/proc/self/ns/net")
        print("same network", same, "graded", await pool.equal([("1/2", "0.5")]))

logging.basicConfig()
asyncio.run(main())
"""


def test_a_grader_that_keeps_the_network_is_warned_about() -> None:
    tried = subprocess.run(
        [sys.executable, "-c", FORBIDDEN], capture_output=True, text=True, timeout=BOUND_S
    )
    assert tried.stdout == "same network True graded True\n", tried.stderr
    assert (
        "this kernel forbids user namespaces, so graders keep their network access" in tried.stderr
    )
    assert "run the reward service where it can reach only Redis" in tried.stderr
