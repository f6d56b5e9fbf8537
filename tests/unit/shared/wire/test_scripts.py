"""Scripts and their callers agree on names, and every script is used and installed."""

import re
import tomllib

import pytest
import redis.asyncio

from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.queues import WorkStream
from shared.wire.scripts import PRELUDE, Script, declaration, source
from tests.paths import ROOT

FOLDER = ROOT / "shared" / "wire" / "scripts"
NAMES = sorted(file.stem for file in FOLDER.glob("*.lua") if file.stem != PRELUDE)

VALUES = {"source": "stream", "consumer_group": "workers", "entry_id": "1-0"}


@pytest.fixture
async def client() -> redis.asyncio.Redis:
    return redis.asyncio.Redis()


def code(name: str) -> str:
    """The script without its comments."""
    return re.sub(r"--.*", "", source(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_declared_name_is_used(name: str) -> None:
    declared = declaration(name)
    assert declared.keys and declared.scalars
    unused = [one for one in declared.names if not re.search(rf"\b{one}\b", code(name))]
    assert unused == []


@pytest.mark.parametrize("name", NAMES)
def test_no_script_counts_positions_or_finishes_an_entry_itself(name: str) -> None:
    assert not re.search(r"KEYS|ARGV|XACK", code(name))


async def test_every_script_is_called_by_the_ledger_or_a_stream(
    client: redis.asyncio.Redis,
) -> None:
    holders = (Ledger(client, Keys("run")), WorkStream(client, "stream", "one"))
    scripts = [one for it in holders for one in vars(it).values() if isinstance(one, Script)]
    assert sorted(one.name for one in scripts) == NAMES


def test_every_script_is_installed_with_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    patterns = tomllib.loads(text)["tool"]["setuptools"]["package-data"]["shared"]
    installed = {file for pattern in patterns for file in (ROOT / "shared").glob(pattern)}
    assert {FOLDER / f"{name}.lua" for name in (*NAMES, PRELUDE)} <= installed


@pytest.mark.parametrize(
    ("script", "values", "message"),
    [
        ("finish", {"source": "stream"}, "no value for 'consumer_group', no value for 'entry_id'"),
        ("finish", VALUES | {"group": "g"}, "no key or argument 'group'"),
        ("finish", VALUES | {"entry_id": ["1-0"]}, "'entry_id' takes one value"),
        ("forward", {"scores": "reward"}, "'scores' takes a list"),
    ],
)
async def test_a_call_with_other_names_is_refused(
    client: redis.asyncio.Redis, script: str, values: dict, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await Script(client, script)(**values)
