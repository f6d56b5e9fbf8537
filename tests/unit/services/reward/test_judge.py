"""The judge over real HTTP: its verdicts, its failures, its cache, and what it is shown."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perl_rl.cli.main import main
from services.reward.app import create_app
from services.reward.judge import (
    PROMPT,
    Judge,
    JudgeUnavailable,
    Outcome,
    prompt_for,
    quote,
    read_verdict,
)
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import RewardConfig
from shared.config.connections import SecurityConfig
from shared.config.reward import JudgeConfig
from shared.wire.messages import Reward
from tests.scripted_endpoint import Body, ScriptedEndpoint, text_of


class NoExpressions:
    """Texts and letters need no grader process."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        raise AssertionError(f"asked about {pairs}")


def knows_cats(body: Body) -> str:
    """A judge to whom kitten and cat are the same."""
    response = text_of(body).partition("<<<response\n")[2]
    return json.dumps({"correct": "kitten" in response})


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(knows_cats).serving() as served:
        yield served


def config(served: ScriptedEndpoint, **changes: Any) -> JudgeConfig:
    fields = {"url": served.url, "model": "j", "retries": 0, "timeout_s": 20}
    fields |= changes.pop("endpoint", {})
    return JudgeConfig.model_validate({"endpoint": fields} | changes)


class Bench:
    """A scorer with a judge, and what the judge did."""

    def __init__(self, config: JudgeConfig, cache: Path | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self.judge = Judge(config, cache, self.outcomes.append)
        self.reward = RewardConfig(judge=config)
        self.scorer = Scorer(self.reward, NoExpressions(), self.judge)

    async def score(self, answer: str, gold: str = "cat", kind: Any = "text") -> Reward:
        return await self.scorer.score(f"<think></think>\\boxed{{{answer}}}", gold, kind)

    async def __aenter__(self) -> "Bench":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.judge.__aexit__(*exception)


async def test_the_judge_is_asked_where_rules_find_nothing(endpoint: ScriptedEndpoint) -> None:
    async with Bench(config(endpoint)) as bench:
        assert (await bench.score("Cat")).total == 1.0
        assert (await bench.score("kitten", gold="B", kind="letter")).accuracy == 0.0
        assert (await bench.scorer.score("  ", "cat", "text")).accuracy == 0.0
        assert bench.outcomes == []
        assert await bench.score("kitten") == Reward(
            total=1.0, accuracy=1.0, format=1.0, extracted="kitten"
        )
        assert (await bench.score("dog")).total == 0.1
        assert bench.outcomes == ["asked", "asked"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (lambda body: 500, "answered 500"),
        (lambda body: 401, "answered 401"),
        (lambda body: "It depends.", "said 'It depends.', which is no verdict, when asked 3 times"),
        (lambda body: "", "said '', which is no verdict"),
    ],
)
async def test_a_failure_is_no_wrong_answer(
    endpoint: ScriptedEndpoint, said: Any, why: str
) -> None:
    endpoint.script = said
    async with Bench(config(endpoint)) as bench:
        with pytest.raises(JudgeUnavailable, match=r"^judge j: ") as caught:
            await bench.score("kitten")
    assert why in str(caught.value) and "\n" not in str(caught.value)
    assert bench.outcomes[-1] == "failed"


async def test_nonsense_is_asked_again_with_another_seed(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda body: "Well..." if body["seed"] < 2 else "Yes."
    async with Bench(config(endpoint), tmp_path) as bench:
        assert (await bench.score("kitten")).accuracy == 1.0
        sent = [(body["seed"], body["temperature"]) for body in endpoint.requests]
        assert sent == [(0, 0.0), (1, 1.0), (2, 1.0)]
        # Only verdicts are kept: nonsense is no reason to fail for ever.
        endpoint.script = lambda body: "No."
        assert (await bench.score("kitten")).accuracy == 0.0


async def test_a_verdict_is_read_from_the_cache(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    for expected in ("asked", "cache"):
        async with Bench(config(endpoint), tmp_path) as bench:
            assert (await bench.score("kitten")).accuracy == 1.0
            assert bench.outcomes == [expected]


async def test_the_same_question_many_times_at_once(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    async with Bench(config(endpoint), tmp_path) as bench:
        rewards = await asyncio.gather(*(bench.score("kitten") for _ in range(32)))
        assert {one.accuracy for one in rewards} == {1.0}
    assert len(list(tmp_path.rglob("*.*"))) == 1


async def test_a_busy_judge_is_asked_again(endpoint: ScriptedEndpoint) -> None:
    endpoint.script = lambda body: 503 if len(endpoint.requests) < 2 else "true"
    async with Bench(config(endpoint, endpoint={"retries": 1})) as bench:
        assert (await bench.score("kitten")).accuracy == 1.0


async def test_a_spent_budget_is_no_verdict(endpoint: ScriptedEndpoint) -> None:
    async with Bench(config(endpoint, endpoint={"budget": 1})) as bench:
        await bench.score("kitten")
        with pytest.raises(JudgeUnavailable, match="the budget of 1 requests is spent"):
            await bench.score("dog")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"timeout_s": 0.2}, r"no verdict within its timeout_s \(0\.2 s\)"),
        ({"endpoint": {"timeout_s": 0.2}}, r"no answer after 1 tries of 0\.2 s"),
    ],
)
async def test_a_slow_judge_is_no_verdict(changes: dict[str, Any], why: str) -> None:
    slow = ScriptedEndpoint(knows_cats, delay_s=1.0)
    with slow.serving():
        async with Bench(config(slow, **changes)) as bench:
            with pytest.raises(JudgeUnavailable, match=why):
                await bench.score("kitten")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"correct": true}', True),
        (' {"correct":false}\n', False),
        ('```json\n{"correct": true}\n```', True),
        ("Yes.", True),
        ("**No**", False),
        ("true", True),
        ("Incorrect", False),
        ("Yes, because the instruction says so", None),
        ("not correct", None),
        ('{"correct": "true"}', None),
        ('{"correct": 1}', None),
        ('{"correct": true, "confidence": 0.2}', None),
        ('[{"correct": true}]', None),
        ('{"correct": true} {"correct": false}', None),
        ("null", None),
        ("NaN", None),
        ('{"correct": NaN}', None),
        ('{"correct": Infinity}', None),
        ('{"correct": null}', None),
        ("[" * 10_000, None),
        ("", None),
    ],
)
def test_a_verdict_has_few_forms(reply: str, verdict: bool | None) -> None:
    assert read_verdict(reply) is verdict


@given(st.text(alphabet="<>|{}responsgld \n", max_size=60))
@settings(derandomize=True)
def test_a_response_cannot_end_its_quotation(response: str) -> None:
    shown = quote(response)
    assert not any(mark in shown for mark in ("<<<", ">>>", "<|", "|>"))
    judge = JudgeConfig.model_validate({"endpoint": {"url": "http://h/v1", "model": "j"}})
    # One mark for each of the three quotations, whatever stands in them.
    asked = prompt_for(judge, response, response, response)
    assert (asked.count("<<<"), asked.count(">>>")) == (3, 3)
    assert len(asked) >= len(PROMPT) - len("{question}{gold}{response}") + 3 * len(response)


def test_a_response_is_shown_its_end_and_fills_no_other_place() -> None:
    judge = JudgeConfig.model_validate(
        {
            "endpoint": {"url": "http://h/v1", "model": "j"},
            "prompt": '{"gold": {gold}, "is": {response}}',
            "shown_chars": 8,
        }
    )
    assert prompt_for(judge, "q", "g", "drop it {gold}") == '{"gold": g, "is": t {gold}}'


def test_a_prompt_without_the_answers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the prompt must contain \{response\}"):
        JudgeConfig.model_validate(
            {"endpoint": {"url": "http://h/v1", "model": "j"}, "prompt": "Is {gold} right?"}
        )


def test_the_judge_must_end_before_the_batch() -> None:
    judge = {"endpoint": {"url": "http://h/v1", "model": "j"}, "timeout_s": 30}
    with pytest.raises(ValueError, match=r"judge\.timeout_s \(30\) must be less than task_timeout"):
        RewardConfig.model_validate({"judge": judge, "task_timeout_s": 30})


@pytest.fixture
async def client(endpoint: ScriptedEndpoint) -> AsyncIterator[httpx.AsyncClient]:
    async with Bench(config(endpoint)) as bench:
        app = create_app(bench.reward, SecurityConfig(), bench.scorer, Metrics(), lambda: True)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://reward") as client:
            yield client


async def test_the_route_asks_the_judge(
    client: httpx.AsyncClient, endpoint: ScriptedEndpoint
) -> None:
    items = [
        {
            "response": "\\boxed{a kitten}",
            "answer": "cat",
            "kind": "text",
            "question": "<image> What?",
        },
        {"response": "\\boxed{a dog}", "answer": "cat", "kind": "text"},
    ]
    answer = await client.post("/score", json=items)
    assert [one["accuracy"] for one in answer.json()] == [1.0, 0.0]
    assert ["[image] What?" in text_of(one) for one in endpoint.requests].count(True) == 1


async def test_a_response_without_a_box_is_wrong_unasked(
    client: httpx.AsyncClient, endpoint: ScriptedEndpoint
) -> None:
    items = [{"response": "a kitten", "answer": "cat", "kind": "text"}]
    answer = await client.post("/score", json=items)
    assert [one["accuracy"] for one in answer.json()] == [0.0]
    assert endpoint.requests == []


async def test_the_route_says_in_one_line_that_the_judge_failed(
    client: httpx.AsyncClient, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = lambda body: 500
    items = [{"response": "\\boxed{a kitten}", "answer": "cat", "kind": "text"}]
    answer = await client.post("/score", json=items)
    assert answer.status_code == 503
    said = answer.json()["detail"]
    assert said.startswith("item 0: not scored; judge j: endpoint http") and "\n" not in said


def test_the_command_asks_the_judge(
    endpoint: ScriptedEndpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    rows = [
        {"response": one, "answer": "cat", "kind": "text"}
        for one in ("\\boxed{a kitten}", "\\boxed{a dog}")
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    command = ["score", str(file), "--judge", endpoint.url]
    assert main(command) == 2
    assert "--judge URL and --judge-model NAME go together" in capsys.readouterr().err
    command += ["--judge-model", "j", "--judge-cache", str(tmp_path / "cache")]
    for _ in range(2):
        assert main(command) == 0
        shown = map(json.loads, capsys.readouterr().out.splitlines())
        assert [row["accuracy"] for row in shown] == [1.0, 0.0]
    assert len(endpoint.requests) == 2
    endpoint.script = lambda body: "maybe" if "kitten" in text_of(body) else "No."
    assert main(command[:-2]) == 2
    captured = capsys.readouterr()
    assert "line 1: not scored; judge j: said 'maybe'" in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_the_judges_key_is_not_shown_with_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = {"endpoint": {"api_key": "s3cret", "url": "http://h/v1", "model": "j"}}
    fields = {"run": "r", "model": {"path": "m"}, "data": {"train": "t"}, "trainer": {}}
    run = tmp_path / "run.yaml"
    run.write_text(json.dumps(fields | {"reward": {"judge": judge | {"timeout_s": 900}}}))
    assert main(["score", str(tmp_path / "none.jsonl"), "--config", str(run)]) == 2
    said = capsys.readouterr().err
    assert "judge.timeout_s (900) must be less than task_timeout_s (600)" in said
    assert "s3cret" not in said
