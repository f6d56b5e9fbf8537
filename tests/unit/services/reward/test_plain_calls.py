"""A custom function that does not return is given up; the others, and the process, go on."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from services.reward import plain_calls
from services.reward.plain_calls import CallTimeout, PlainCalls
from shared.errors import UserError


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a blocked function waits for; open at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def calls(timeout_s: float = 0.05) -> PlainCalls:
    return PlainCalls("reward.function 'own:f'", timeout_s, "reward.function_timeout_s")


async def test_what_a_function_returns_and_raises_arrives() -> None:
    assert await calls(10.0).call(pow, 2, 5) == 32
    with pytest.raises(ZeroDivisionError):
        await calls(10.0).call(lambda: 1 / 0)


async def test_a_timeout_of_the_function_itself_is_not_ours() -> None:
    def raises() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await calls(10.0).call(raises)


async def test_a_function_that_blocks_is_named_with_the_setting(gate: threading.Event) -> None:
    message = (
        r"^reward\.function 'own:f' has not returned within reward\.function_timeout_s \(0\.05 s\)$"
    )
    with pytest.raises(CallTimeout, match=message):
        await calls().call(gate.wait)


async def test_more_blocked_calls_than_run_at_once_stop_no_other(gate: threading.Event) -> None:
    several = calls()
    blocked = [several.call(gate.wait) for _ in range(40)]
    found = await asyncio.gather(*blocked, several.call(lambda: "done"), return_exceptions=True)
    assert [type(one) for one in found[:-1]] == [CallTimeout] * 40
    assert found[-1] == "done"


async def test_a_node_with_too_many_calls_without_an_end_ends(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_calls, "MOST_LEFT", 2)
    several = calls()
    for _ in range(2):
        with pytest.raises(CallTimeout):
            await several.call(gate.wait)
    with pytest.raises(UserError, match="nor have 2 calls before; let it give up where it waits"):
        await several.call(gate.wait)


async def test_a_call_that_ends_late_is_no_longer_counted(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_calls, "MOST_LEFT", 1)
    several = calls()
    with pytest.raises(CallTimeout):
        await several.call(gate.wait)
    gate.set()
    assert await several.call(lambda: "done") == "done"
    with pytest.raises(CallTimeout):
        await several.call(threading.Event().wait, 0.3)


@pytest.mark.slow
def test_the_process_ends_while_a_call_blocks() -> None:
    program = (
        "import asyncio, threading\n"
        "from services.reward.plain_calls import CallTimeout, PlainCalls\n"
        "async def main():\n"
        "    try:\n"
        "        await PlainCalls('f', 0.05, 's').call(threading.Event().wait)\n"
        "    except CallTimeout:\n"
        "        print('given up')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("given up\n", "", 0)
