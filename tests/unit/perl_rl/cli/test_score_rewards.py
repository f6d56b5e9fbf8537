"""The route and the command give the same rewards, for every setting of the configuration."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perl_rl.cli.main import main
from perl_rl.cli.score import settings
from services.reward.app import create_app
from services.reward.judge import Judge
from services.reward.metrics import Metrics
from services.reward.penalties import Details
from services.reward.scoring import RewardContext, Scorer
from shared.config.connections import SecurityConfig
from shared.errors import UserError
from shared.grading.pool import GraderPool
from shared.wire.messages import PromptTask, Reward
from tests.scripted_endpoint import ScriptedEndpoint

Line = dict[str, Any]
Ask = Callable[..., list[Line]]


async def post(items: list[Line], *overrides: str) -> httpx.Response:
    """The answer of a node's route with these settings."""
    how = settings(overrides=list(overrides))
    async with GraderPool(how.reward) as pool:
        judge = None if how.reward.judge is None else Judge(how.reward.judge)
        scorer = Scorer(how.reward, pool, judge, how.max_tokens)
        app = create_app(how.reward, SecurityConfig(), scorer, Metrics(), lambda: True)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://reward") as client:
            answer = await client.post("/score", json=items)
        if judge is not None:
            await judge.__aexit__(None, None, None)
    return answer


@pytest.fixture(params=["route", "command"])
def ask(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Scores of items under overrides of the configuration."""

    def route(items: list[Line], *overrides: str) -> list[Line]:
        answer = asyncio.run(post(items, *overrides))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def command(items: list[Line], *overrides: str) -> list[Line]:
        file = tmp_path / "answers.jsonl"
        file.write_text("\n".join(map(json.dumps, items)))
        assert main(["score", str(file), *(f"--set={one}" for one in overrides)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return {"route": route, "command": command}[request.param]


def line(response: str, answer: str, kind: str, **more: Any) -> Line:
    return {"response": response, "answer": answer, "kind": kind} | more


def accuracies(scores: list[Line]) -> list[float]:
    return [one["accuracy"] for one in scores]


def test_every_kind_of_answer(ask: Ask) -> None:
    pairs = [
        ("letter", "B", "(B) cat", "A"),
        ("position", "2", "the second image", "1"),
        ("order", "BCA", "B, C, A", "ABC"),
        ("number", "12 cm", "0.12 m", "12 m"),
        ("math", "\\frac{1}{2}", "0.5", "0.6"),
        ("boolean", "yes", "correct", "no"),
        ("text", "Red car", "red car.", "blue car"),
        ("exact", "Red", "Red", "red"),
        ("list", "cat, dog", "dog and cat", "cat"),
        ("steps", "(1) 3; (2) 4", "(1) 3; (2) 4.0", "(1) 4; (2) 3"),
    ]
    items = [
        line(f"\\boxed{{{given}}}", gold, kind) for kind, gold, *both in pairs for given in both
    ]
    assert accuracies(ask(items)) == [1.0, 0.0] * len(pairs)


def test_tolerance_is_the_items_own(ask: Ask) -> None:
    item = line("\\boxed{102}", "100", "number")
    scores = ask([item, item | {"tolerance": 0.01}, item | {"tolerance": 0.02}])
    assert accuracies(scores) == [0.0, 0.0, 1.0]


def test_where_the_answer_is_looked_for(ask: Ask) -> None:
    item = line("<think>Hm.</think> The answer is (B).", "B", "letter")
    own = [item, item | {"extraction": "lenient"}, item | {"extraction": "strict"}]
    assert accuracies(ask(own)) == [0.0, 1.0, 0.0]
    lenient = ask(own, "reward.extraction=lenient")
    assert accuracies(lenient) == [1.0, 1.0, 0.0]
    assert [one["extracted"] for one in lenient] == ["(B).", "(B).", None]
    assert [one["format"] for one in lenient] == [0.0, 0.0, 0.0]


def test_steps_have_verdicts_of_their_own(ask: Ask) -> None:
    gold = "(1) 3; (2) x=4; (3) 5"
    given = ["(1) 3; (2) 4; (3) 5", "(1) 3; (2) 5; (3) 5.0", "(1) 3"]
    items = [line(f"\\boxed{{{one}}}", gold, "steps") for one in given]
    scores = ask([*items, line("no", gold, "steps"), line("\\boxed{3}", "3", "number")])
    assert [one["steps"] for one in scores] == [
        [True, True, True],
        [True, False, True],
        [True, False, False],
        [False, False, False],
        None,
    ]
    assert accuracies(scores) == [1.0, 0.0, 0.0, 0.0, 1.0]


@pytest.fixture
def kittens() -> Iterator[ScriptedEndpoint]:
    """A judge that says yes to every answer about kittens."""

    def verdict(body: Line) -> str:
        return json.dumps({"correct": "kitten" in body["messages"][0]["content"][0]["text"]})

    with ScriptedEndpoint(verdict).serving() as endpoint:
        yield endpoint


def test_the_judge_is_asked_about_the_kinds_it_is_for(ask: Ask, kittens: ScriptedEndpoint) -> None:
    address = f"reward.judge.endpoint={{url: '{kittens.url}', model: j}}"
    items = [
        line("\\boxed{a kitten}", "cat", "text"),
        line("\\boxed{a dog}", "cat", "text"),
        line("\\boxed{(1) a kitten; (2) 4}", "(1) cat; (2) 4", "steps"),
        line("\\boxed{kitten}", "A", "letter"),
        line("It is a kitten.\nAnswer: a kitten", "cat", "text"),
    ]
    kinds = "reward.judge.kinds=[text, steps]"
    assert accuracies(ask(items, address)) == [1.0, 0.0, 0.0, 0.0, 0.0]
    scores = ask(items, address, kinds, "reward.extraction=lenient")
    assert accuracies(scores) == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert scores[2]["steps"] == [True, True]
    assert len(kittens.requests) == 2 + 4


def test_weights_and_penalties(ask: Ask) -> None:
    item = line("<think></think>\\boxed{B}", "B", "letter", tokens=14)
    priced = [
        "reward.accuracy_weight=0.5",
        "reward.format_weight=0.25",
        "reward.overlong={buffer_tokens: 4, penalty: 0.5}",
        "reward.length_penalty={start_tokens: 10, per_token: 0.01, most: 0.25}",
        "sampling.max_tokens=16",
    ]
    short, long = ask([item | {"tokens": 8}, item], *priced)
    assert (short["reward"], short["penalty"]) == (0.75, 0.0)
    assert (long["reward"], long["penalty"]) == (pytest.approx(0.46), pytest.approx(-0.29))
    (roomy,) = ask([item | {"max_tokens": 64}], *priced)
    assert roomy["penalty"] == pytest.approx(-0.04)


def own(
    response: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """A custom reward function: which arguments it got."""
    if response == "raise":
        raise ValueError("no\nsuch answer")
    if response == "number":
        return 1.0  # type: ignore[return-value]
    if response == "none":
        return Reward(total=float("nan"), accuracy=0.5, format=0.25, extracted=None)
    assert task is None
    assert context.details == Details("?", 0.5, "lenient", tokens=7, max_tokens=9)
    return Reward(
        total=2.5, accuracy=0.5, format=0.25, extracted=f"{gold} {kind}", steps=(True, False)
    )


OWN = f"reward.function={__name__}:own"


def test_a_function_of_ones_own(ask: Ask) -> None:
    more = {"tolerance": 0.5, "extraction": "lenient", "tokens": 7, "max_tokens": 9}
    (score,) = ask([line("x", "B", "letter", question="?", **more)], OWN)
    expected = {"accuracy": 0.5, "format": 0.25, "penalty": 0.0, "reward": 2.5}
    expected |= {"extracted": "B letter", "steps": [True, False]}
    assert {name: score[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("raise", "own' failed with ValueError: no such answer"),
        ("number", "own' returned float, not shared.wire.messages.Reward"),
        ("none", "own' returned a Reward whose field 'total' must be a finite number (got nan)"),
    ],
)
def test_a_function_that_fails_is_named_in_one_line(
    response: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = line(response, "B", "letter")
    answer = asyncio.run(post([item], OWN))
    assert answer.status_code == 500
    said = answer.json()["detail"]
    assert said.startswith("item 0: not scored; reward.function") and said.endswith(why)
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps(item))
    assert main(["score", str(file), "--set", OWN]) == 2
    err = capsys.readouterr().err
    assert "line 1: not scored; reward.function" in err and err.endswith(f"{why}\n")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.path=m", "unknown key 'model'.*without --config, --set takes keys of reward"),
        ("reward.extraction=loose", r"reward\.extraction: .*'strict' or 'lenient'"),
        ("reward.overlong=4", r"reward\.overlong"),
    ],
)
def test_overrides_without_a_file_are_checked(override: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^score: .*{said}"):
        settings(overrides=[override])
