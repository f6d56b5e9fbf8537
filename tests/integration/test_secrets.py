"""Nothing that a run writes, says or answers holds a secret: each is set, used, and searched for.

Real trainer, real ranks, a real reward node with a judge; only the sampling is scripted.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import redis.asyncio
import yaml
from starlette.responses import JSONResponse

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from shared.config import load_config
from shared.service.auth import bearer
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.registry import Registry
from tests.scripted_endpoint import ScriptedEndpoint, text_of
from tests.scripted_sampler import ScriptedSampler, demo_config, end

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

TOKEN = "token-that-nobody-may-see"
KEY = "judge-key-that-nobody-may-see"
VARIABLE = "PERL_TEST_TOKEN"
WAIT_S = 150.0
RANK = "services.trainer.rank.main"
SECRET_FILES = {"trainer-config.secrets", "report-config.secrets"}


@pytest.fixture
def judge() -> Iterator[ScriptedEndpoint]:
    """A judge that repeats the key to whom it refuses."""

    def script(body: dict) -> JSONResponse | str:
        if "refuse me" in text_of(body):
            return JSONResponse({"error": {"message": f"bad key {KEY}"}}, status_code=401)
        return '{"correct": true}'

    with ScriptedEndpoint(script).serving() as endpoint:
        yield endpoint


@pytest.fixture
def config_file(tmp_path: Path, redis_url: str, judge: ScriptedEndpoint) -> Path:
    """A run of two steps; the token comes from the environment, the rest from the file."""
    processor = build_processor()
    save(build_model(processor, seed=0), processor, tmp_path / "model")
    write_data(tmp_path / "data", train=8, held_out=3, skew=0.8, seed=1)
    settings = demo_config(tmp_path, redis_url, steps=2, checkpoint={"every_steps": 1})
    settings["security"] = {"token": f"${{{VARIABLE}}}"}
    endpoint = {"url": judge.url, "model": "j", "api_key": KEY, "retries": 0}
    settings["reward"] = {"port": 0, "workers": 1, "judge": {"endpoint": endpoint}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


class Desk:
    """Runs the command line; what each command says is kept in a file."""

    def __init__(self, folder: Path) -> None:
        self.said = folder / "said"
        self.said.mkdir()
        self.arguments: set[str] = set()

    @asynccontextmanager
    async def running(self, name: str, *words: object) -> AsyncIterator[asyncio.subprocess.Process]:
        command = [sys.executable, "-m", "perl_rl", "--debug", *map(str, words)]
        with (self.said / name).open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {VARIABLE: TOKEN, "OMP_NUM_THREADS": "1"},
            )
            try:
                yield process
            finally:
                self.note_arguments(process.pid)
                if process.returncode is None:
                    process.kill()
                await process.wait()

    async def run(self, name: str, *words: object) -> str:
        async with self.running(name, *words) as process:
            status = await asyncio.wait_for(process.wait(), WAIT_S)
        text = (self.said / name).read_text()
        assert status == 0, text
        return text

    async def see_ranks(self, trainer: asyncio.subprocess.Process) -> None:
        """Note the arguments of a trainer's processes, once its ranks are among them."""
        async with asyncio.timeout(WAIT_S):
            while not any(RANK in word for word in self.arguments):
                assert trainer.returncode is None, "no rank was ever seen"
                self.note_arguments(trainer.pid)
                await asyncio.sleep(0.1)

    def note_arguments(self, pid: int) -> None:
        """What anybody on the machine can see of a process and of all below it."""
        if psutil.pid_exists(pid):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with_arguments = one.cmdline() if one.is_running() else []
                self.arguments |= set(with_arguments)


async def test_no_secret_is_written_or_said(
    config_file: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)
    config, run, desk = load_config(config_file), tmp_path / "run", Desk(tmp_path)
    password = redis_url.partition("@")[0].rpartition(":")[2]
    assert len(password) > 20 and config.security.token == TOKEN
    client = await connect(redis_url, 10.0)

    sampling = asyncio.create_task(ScriptedSampler(config).run())
    serve = ("serve", config_file, "--run-dir", run, "--port", "0")
    async with desk.running("trainer", "trainer", *serve) as trainer:
        await reward_answers(client, desk, config_file, run)
        await desk.see_ranks(trainer)
        assert await asyncio.wait_for(trainer.wait(), WAIT_S) == 0
    await end(sampling)
    told = await desk.run("status", "status", "--redis", redis_url, "--run", "test")
    assert "step     2 of 2" in told
    await desk.run("letters", "dead-letters", config_file)
    await desk.run("report", "report", config_file, "--run-dir", run)
    (run / "in-redis").write_bytes(await everything(client))
    await client.aclose()

    assert (run / "summary.json").is_file() and (run / "trainer-config.yaml").is_file()
    found = list(leaks([run, desk.said], [TOKEN, KEY, password]))
    assert {file.name for file, _ in found} == SECRET_FILES
    assert {secret for _, secret in found} == {TOKEN, KEY, password}, "the search finds them"
    assert not [word for word in desk.arguments if TOKEN in word or KEY in word]


async def reward_answers(
    client: redis.asyncio.Redis, desk: Desk, config_file: Path, run: Path
) -> None:
    """A reward node of another run on the same Redis: its judge agrees, then refuses the key."""
    serve = ("serve", config_file, "--run-dir", run, "--set", "run=other")
    item = {"response": r"\boxed{a kitten}", "answer": "cat", "kind": "text"}
    async with desk.running("reward", "reward", *serve) as process:
        registry = Registry(client, Keys("other"))
        async with asyncio.timeout(WAIT_S):
            while not (nodes := (await registry.nodes())[0]):
                assert process.returncode is None
                await asyncio.sleep(0.1)
        async with httpx.AsyncClient(base_url=nodes[0].url, timeout=WAIT_S) as http:
            refused = await http.post("/score", json=[item], headers=bearer("guess"))
            scored = await http.post("/score", json=[item], headers=bearer(TOKEN))
            item["response"] = r"\boxed{refuse me}"
            failed = await http.post("/score", json=[item], headers=bearer(TOKEN))
            metrics = await http.get("/metrics", headers=bearer(TOKEN))
        assert (refused.status_code, scored.status_code, failed.status_code) == (401, 200, 503)
        assert "bad key ***" in failed.text
        answers = (refused, scored, failed, metrics)
        (desk.said / "answers").write_text("\n".join(one.text for one in answers))


async def everything(client: redis.asyncio.Redis) -> bytes:
    """All that Redis holds, as it would be written to its file."""
    keys = [key async for key in client.scan_iter()]
    assert keys
    return b"".join([key + (await client.dump(key) or b"") for key in keys])


def leaks(folders: list[Path], secrets: list[str]) -> Iterator[tuple[Path, str]]:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        for secret in secrets:
            if secret.encode() in content:
                yield file, secret
