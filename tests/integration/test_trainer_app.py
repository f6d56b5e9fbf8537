"""The trainer's routes on a real Redis: status, control, metrics, the token."""

import asyncio
import json
import logging

import httpx
import pytest
import yaml

from services.trainer.control.app import create_app
from services.trainer.control.plane import ControlPlane
from shared.config import load_config
from shared.config.connections import SecurityConfig
from shared.config.objective import ObjectiveConfig
from shared.records.evaluations import FIGURES, evaluation_file
from shared.service.auth import bearer
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.queues import CONSUMER_GROUP, WorkStream
from shared.wire.registry import NodeInfo, Registry
from tests.scripted_sampler import demo_config
from tests.unit.shared.records.rows import line

pytestmark = pytest.mark.anyio

TOKEN = "s3cret"
ROW = '{"id": "a", "question": "?", "answer": "1", "kind": "number"}\n'


@pytest.fixture
async def plane(tmp_path, redis_url):
    """A control plane that has not started any rank."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(ROW)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(demo_config(tmp_path, redis_url)))
    client = await connect(redis_url, 10.0)
    yield ControlPlane(client, load_config(file), file, tmp_path / "run", "http://here")
    await client.aclose()


@pytest.fixture
async def http(plane, tmp_path):
    """A client of the routes that shows the token."""
    app = create_app(plane, tmp_path, SecurityConfig(token=TOKEN))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://trainer", headers=bearer(TOKEN)
    ) as client:
        yield client


async def test_every_route_but_health_wants_the_token(http):
    nobody = {"Authorization": "Bearer wrong"}

    assert (await http.get("/healthz", headers=nobody)).status_code == 200
    for method, path in (
        ("GET", "/status"),
        ("GET", "/metrics"),
        ("POST", "/control/stop"),
    ):
        answer = await http.request(method, path, headers=nobody)
        assert answer.status_code == 401, path
        assert "wrong or missing token" in answer.json()["detail"]


async def test_it_is_ready_once_the_ranks_have_published(http, plane):
    await plane.state.update(phase="starting")
    refused = await http.get("/readyz")
    assert (refused.status_code, refused.json()["detail"]) == (503, "trainer is starting")

    await plane.state.update(phase="training", step=3, steps=9)

    assert (await http.get("/readyz")).status_code == 200
    status = (await http.get("/status")).json()
    assert (status["trainer"]["step"], status["trainer"]["steps"]) == (3, 9)
    assert status["groups"]["issued"] == 0
    assert "perl_trainer_step 3.0" in (await http.get("/metrics")).text


async def test_the_last_steps_figures_are_gauges(http, tmp_path):
    before = (await http.get("/metrics")).text
    assert "perl_step_reward NaN" in before
    assert 'perl_step_alarm{of="kl"} 0.0' in before

    file = tmp_path / "metrics.jsonl"
    file.write_text(
        line(step=1, reward=0.25) + line(step=2, reward=0.75, kl=148, samples=12, alarms=["kl"])
    )

    text = (await http.get("/metrics")).text
    for figure in ("reward 0.75", "kl 148.0", "samples 12.0", "grad_norm NaN"):
        assert f"perl_step_{figure}\n" in text
    assert "# HELP perl_step_wait_s Seconds that the trainer waited for groups" in text
    assert "perl_step_groups" not in text
    assert 'perl_step_alarm{of="kl"} 1.0' in text
    assert 'perl_step_alarm{of="logprob_mismatch"} 0.0' in text


async def test_the_last_evaluations_figures_are_gauges(http, tmp_path):
    assert "perl_heldout_accuracy NaN" in (await http.get("/metrics")).text
    (tmp_path / "evaluations").mkdir()
    for step, value in ((0, 0.25), (20, 0.5)):
        content = {name: {"value": value} for name in FIGURES}
        evaluation_file(tmp_path, step).write_text(json.dumps(content))

    text = (await http.get("/metrics")).text
    for figure in ("step 20.0", "accuracy 0.5", "worst_case 0.5", "flip_rate 0.5"):
        assert f"perl_heldout_{figure}\n" in text
    assert "perl_step_heldout" not in text


def gauge(text: str, name: str) -> float:
    (line,) = (one for one in text.splitlines() if one.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])


async def test_queues_nodes_and_dead_letters_are_gauges(http, plane, redis_url):
    client, keys = await connect(redis_url, 10.0), Keys("test")
    empty = (await http.get("/metrics")).text
    for name in ("entries", "in_work", "oldest_seconds", "unrenewed_seconds"):
        assert gauge(empty, f'perl_queue_{name}{{queue="prompts"}}') == 0

    stream = WorkStream(client, keys.prompts, consumer="rollout-0")
    await stream.create()
    now_s, _ = await client.time()
    for age_s in (90, 60, 0):
        await client.xadd(keys.prompts, {"m": b"?"}, id=f"{(now_s - age_s) * 1000}-0")
    (taken, _) = await stream.read(2, 1.0)
    await client.xclaim(keys.prompts, CONSUMER_GROUP, "rollout-0", 0, [taken.id], idle=30_000)
    await client.xadd(keys.dead_letters, {"m": b"?"})
    for name, kind, state in (
        ("rollout-0", "rollout", "ready"),
        ("rollout-1", "rollout", "outdated"),
        ("reward-0", "reward", "ready"),
    ):
        node = NodeInfo(name=name, kind=kind, url="http://here", state=state)
        await Registry(client, keys).heartbeat(node, 60.0)
    await client.sadd(keys.nodes, "rollout-9")
    await plane.state.update(phase="training", incarnation=2, step=3, steps=9)

    text = (await http.get("/metrics")).text
    assert gauge(text, 'perl_queue_entries{queue="prompts"}') == 3
    assert gauge(text, 'perl_queue_in_work{queue="prompts"}') == 2
    assert 90 <= gauge(text, 'perl_queue_oldest_seconds{queue="prompts"}') < 110
    assert 30 <= gauge(text, 'perl_queue_unrenewed_seconds{queue="prompts"}') < 50
    assert gauge(text, 'perl_queue_entries{queue="groups"}') == 0
    assert gauge(text, "perl_dead_letters") == 1
    assert gauge(text, 'perl_nodes{kind="rollout",state="ready"}') == 1
    assert gauge(text, 'perl_nodes{kind="rollout",state="outdated"}') == 1
    assert gauge(text, 'perl_nodes{kind="reward",state="draining"}') == 0
    assert gauge(text, "perl_nodes_lost") == 1
    assert gauge(text, 'perl_trainer_phase{phase="training"}') == 1
    assert gauge(text, 'perl_trainer_phase{phase="failed"}') == 0
    assert (gauge(text, "perl_trainer_incarnation"), gauge(text, "perl_trainer_steps")) == (2, 9)
    await client.aclose()


async def test_wishes_reach_the_ranks_and_can_be_taken_back(http, plane):
    await http.post("/control/pause")
    await http.post("/control/checkpoint")
    assert await plane.state.wishes() == {"pause", "checkpoint"}

    await http.post("/control/resume")
    assert await plane.state.wishes() == {"checkpoint"}

    await http.post("/control/stop")
    assert await plane.state.wishes() == {"checkpoint", "stop"}
    assert (await http.post("/control/explode")).status_code == 422


async def test_the_log_begins_with_the_objective_as_it_holds(plane, caplog):
    stop = asyncio.Event()
    stop.set()
    with caplog.at_level(logging.INFO, "services.trainer"):
        async with asyncio.timeout(60):
            await plane.run(stop)

    said = caplog.messages[0]
    assert said.startswith("objective: preset=perl ratio=token clip_low=0.2 ")
    switches = dict(part.split("=") for part in said.removeprefix("objective: ").split())
    assert switches.keys() == ObjectiveConfig.model_fields.keys()
