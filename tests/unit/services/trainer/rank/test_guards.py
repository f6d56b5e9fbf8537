"""Each guard against silent blindness, on what it guards, broken; the message a user sees."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch

from perl_rl.demo.digits import digits, picture
from perl_rl.demo.model import build_model, build_processor, save
from services.trainer.compute.canary import exchanged, has_pictures, is_alarm, reaction
from services.trainer.compute.checks import GuardStop, check_features
from services.trainer.compute.loss import LossSums
from services.trainer.compute.model import GroupModel, chunk_logprobs
from services.trainer.compute.packing import pack
from services.trainer.compute.prepare import GroupPreparer, TokenMismatch
from services.trainer.compute.step import Updates
from services.trainer.rank.guards import GradientGuard, MismatchGuard, StepGuards, admitted
from shared.config import Config
from shared.config.guard import GuardConfig
from shared.images import digest
from shared.wire.messages import MalformedMessage, PolicyVersion, ScoredGroup, decode, encode
from tests.builders import group, reward
from tests.scripted_sampler import ScriptedSampler, demo_config

VERSION = PolicyVersion(incarnation=2, step=5)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A configuration and its tiny model."""
    folder = tmp_path_factory.mktemp("guards")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
    config = Config.model_validate(demo_config(folder, "redis://127.0.0.1:1/0"))
    return config, build_model(processor, seed=0).float().eval()


@pytest.fixture(scope="module")
def pictures():
    """Two digits by their names."""
    found = {}
    for index in (0, 1):
        image, data = picture(digits().scans[index]), io.BytesIO()
        image.save(data, "PNG")
        found[digest(data.getvalue())] = image
    return found


@pytest.fixture(scope="module")
def scored(policy, pictures) -> ScoredGroup:
    """A group over the two pictures, sampled with the trainer's own prompt."""
    config, _ = policy
    sampler = ScriptedSampler(config)
    orders = []
    for index, one in enumerate(group().orders):
        task = one.batch.task.model_copy(update={"images": tuple(pictures), "order_index": index})
        batch = sampler._answer(task, list(pictures.values()))
        orders.append(one.model_copy(update={"batch": batch, "rewards": (reward(), reward(0.0))}))
    return ScoredGroup(group_id="g-7", orders=tuple(orders))


def change_order(scored: ScoredGroup, **changes: object) -> ScoredGroup:
    first = scored.orders[0]
    batch = first.batch.model_copy(update=changes)
    first = first.model_copy(update={"batch": batch})
    return scored.model_copy(update={"orders": (first, *scored.orders[1:])})


def change_response(scored: ScoredGroup, **changes: object) -> ScoredGroup:
    responses = scored.orders[0].batch.responses
    changed = responses[0].model_copy(update=changes)
    return change_order(scored, responses=(changed, *responses[1:]))


def test_a_sampler_that_resizes_pictures_otherwise_is_found(policy, pictures, scored):
    config, model = policy
    ids = scored.orders[0].batch.prompt_token_ids
    image = np.flatnonzero(ids == model.config.image_token_id)
    fewer = change_order(scored, prompt_token_ids=np.delete(ids, image[0]))

    with pytest.raises(TokenMismatch, match=r"g-7, order 0: node scripted.*model\.min_pixels"):
        GroupPreparer(config, model).prepare(fewer, pictures, VERSION)


def test_a_sampler_that_cuts_pictures_otherwise_into_as_many_tokens_is_found(
    policy, pictures, scored
):
    config, model = policy
    first, (time, height, width) = scored.orders[0].batch.image_grids
    other = change_order(scored, image_grids=(first, (time, height // 2, width * 2)))
    message = (
        r"g-7, order 0: node scripted cut image 2 into 1x2x8 patches, the trainer into 1x4x4; "
        r"give both the same model folder, model\.min_pixels and model\.max_pixels"
    )

    with pytest.raises(GuardStop, match=message):
        GroupPreparer(config, model).prepare(other, pictures, VERSION)


def test_a_sampler_with_another_instruction_of_the_same_length_is_found(policy, pictures, scored):
    config, model = policy
    ids = scored.orders[0].batch.prompt_token_ids.copy()
    place = int(np.flatnonzero(ids != model.config.image_token_id)[5])
    ids[place] += 1
    other = change_order(scored, prompt_token_ids=ids)

    with pytest.raises(TokenMismatch, match=rf"first differ at place {place}; .*instruction"):
        GroupPreparer(config, model).prepare(other, pictures, VERSION)


def test_a_question_with_the_image_token_in_its_text_is_found(policy, pictures, scored):
    config, model = policy
    task = scored.orders[0].batch.task
    task = task.model_copy(update={"question": f"{task.question} <|image_pad|>"})
    message = (
        r"g-7, order 0: its prompt has 3 places for 2 images; sample s may hold the image token"
    )

    with pytest.raises(TokenMismatch, match=message):
        GroupPreparer(config, model).prepare(change_order(scored, task=task), pictures, VERSION)


def test_a_vision_tower_with_too_few_features_is_found(policy, pictures, scored):
    """One feature a picture would otherwise fill every place of it, without an error."""
    config, model = policy
    prepared = GroupPreparer(config, model).prepare(scored, pictures, VERSION)
    (batch,) = pack([prepared], 1000)
    blind = GroupModel(model, config.sampling.temperature)
    features = blind._encode(batch.pixel_values, batch.grid)
    blind._encode = lambda *pictures: tuple(one[:1] for one in features)

    with pytest.raises(GuardStop, match=r"gave 4 features for 16 image tokens; the model"):
        chunk_logprobs(blind, batch)


def test_a_sampler_with_another_vocabulary_is_found(policy, pictures, scored):
    config, model = policy
    tokens = len(scored.orders[0].batch.responses[0].token_ids)
    strange = change_response(scored, token_ids=np.full(tokens, 10**6, dtype=np.int32))

    with pytest.raises(GuardStop, match=r"sampled token 1000000, the trainer's model has .*folder"):
        GroupPreparer(config, model).prepare(strange, pictures, VERSION)


def test_pixels_that_do_not_fit_their_grid_are_found():
    check_features("g", [16, 16], 32)
    with pytest.raises(GuardStop, match="the grids of 2 images have 32 patches, their pixels 31"):
        check_features("g", [16, 16], 31)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf"), 0.5, -120.0, -9999.0])
def test_a_log_probability_that_is_none_is_found(scored, value):
    tokens = len(scored.orders[0].batch.responses[0].token_ids)
    broken = change_response(scored, logprobs=np.full(tokens, value, dtype=np.float32))

    assert admitted(scored) is scored
    message = (
        r"'orders\.0\.batch\.responses\.0': a log-probability of .* cannot be that of a sampled"
    )
    with pytest.raises(MalformedMessage, match=message):
        decode(ScoredGroup, encode(broken))


def test_an_empty_group_is_found(scored):
    with pytest.raises(MalformedMessage, match="'orders': there is none"):
        admitted(scored.model_copy(update={"orders": ()}))
    with pytest.raises(MalformedMessage, match="order 0: it has no responses"):
        admitted(change_order(scored, responses=()))


def test_a_response_without_tokens_is_found(scored):
    empty = {"token_ids": np.zeros(0, np.int32), "logprobs": np.zeros(0, np.float32)}
    with pytest.raises(MalformedMessage, match="order 0, response 0: it has no tokens"):
        admitted(change_response(scored, versions=(), **empty))


@pytest.mark.parametrize("value", [-103.2, 0.0, 5e-4])
def test_a_log_probability_that_can_be_is_kept(scored, value):
    tokens = len(scored.orders[0].batch.responses[0].token_ids)
    sound = change_response(scored, logprobs=np.full(tokens, value, dtype=np.float32))
    assert admitted(decode(ScoredGroup, encode(sound))).group_id == "g-7"


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e39])
@pytest.mark.parametrize("field", ["total", "accuracy", "format", "penalty"])
def test_a_reward_that_is_no_number_is_found(scored, field, value):
    rewards = (reward().model_copy(update={field: value}), reward())
    first = scored.orders[0].model_copy(update={"rewards": rewards})
    message = rf"'orders\.0\.rewards\.0\.{field}': must be"
    with pytest.raises(MalformedMessage, match=message):
        decode(ScoredGroup, encode(scored.model_copy(update={"orders": (first,)})))


def test_updates_without_a_finite_gradient_stop_the_run_when_they_last():
    guard = GradientGuard(GuardConfig(max_nonfinite_steps=2))

    assert not guard.watch(1, 0)
    assert guard.watch(2, 3)
    assert not guard.watch(3, 0)
    assert guard.watch(4, 1)
    assert guard.refused == 4
    with pytest.raises(GuardStop, match=r"step 5: .* 2 steps in a row .*max_nonfinite_steps"):
        guard.watch(5, 1)


def test_a_mismatch_is_an_alarm_at_once_and_a_stop_when_it_lasts(caplog):
    config = GuardConfig(mismatch_warn_above=0.1, mismatch_stop_above=0.5, window=2)
    guard = MismatchGuard(config)

    assert not guard.watch(1, 0.01)
    assert not guard.watch(2, None)
    assert guard.watch(3, 0.9)
    assert "step 3: log-probabilities of trainer and sampler differ by 0.9" in caplog.text
    with pytest.raises(GuardStop, match=r"step 4: .*mismatch_stop_above 0\.5\); check that every"):
        guard.watch(4, 0.9)


def test_a_mismatch_that_is_no_number_stops():
    guard = MismatchGuard(GuardConfig(window=1))
    with pytest.raises(GuardStop, match="differ by inf"):
        guard.watch(1, float("nan"))


def change_a_token(policy, prepared) -> float:
    config, model = policy
    group_model = GroupModel(model, config.sampling.temperature)
    pair = (pack([prepared], 1000), pack([exchanged(prepared)], 1000))
    change, tokens = reaction(group_model, *pair)
    return change / tokens


def test_the_canary_lives_while_the_policy_sees_and_dies_when_it_is_blind(
    policy, pictures, scored, caplog
):
    config, model = policy
    prepared = GroupPreparer(config, model).prepare(scored, pictures, VERSION)
    settings = GuardConfig()
    assert has_pictures(prepared)

    seeing = change_a_token(policy, prepared)
    assert seeing > settings.canary_warn_below
    assert not is_alarm(1, seeing, settings)

    # Blind: the prompt's place holders are never filled with features.
    orders = tuple(
        dataclasses.replace(one, images=(), image_columns=one.image_columns[:0])
        for one in prepared.orders
    )
    blind = change_a_token(policy, dataclasses.replace(prepared, orders=orders))
    assert blind == 0.0
    assert is_alarm(2, blind, settings)
    assert "step 2: with other pictures" in caplog.text
    with pytest.raises(GuardStop, match=r"canary_stop_below .*does not look at its pictures"):
        is_alarm(3, blind, GuardConfig(canary_stop_below=1e-6))


def test_exchanged_pictures_have_the_same_sizes_and_other_values(policy, pictures, scored):
    config, model = policy
    prepared = GroupPreparer(config, model).prepare(scored, pictures, VERSION)
    other = exchanged(prepared)
    assert other.pixel_values.shape == prepared.pixel_values.shape
    assert torch.equal(other.grid, prepared.grid)
    assert not torch.equal(other.pixel_values, prepared.pixel_values)


def updates(kl: float = 0.01, mismatch: float = 0.001, refused: tuple[int, ...] = ()) -> Updates:
    """Of a step of 100 tokens with these means."""
    sums = LossSums(tokens=100.0, responses=10.0, kl=kl * 100)
    sums = dataclasses.replace(sums, mismatch_tokens=100.0, mismatch_abs=mismatch * 100)
    return Updates(sums, grad_norm=1.0, refused=refused)


def test_a_policy_far_from_the_start_model_is_an_alarm_of_its_step_only(caplog):
    guards = StepGuards(GuardConfig(), stepper=None)
    assert guards.after(1, updates()).alarms == []
    found = guards.after(2, updates(kl=148.0))
    assert (found.alarms, found.guard_alarms) == (["kl"], 1)
    assert "step 2: the policy diverges from the start model by 148 nats" in caplog.text
    assert "trainer.guard.kl_warn_above 1): lower trainer.optimizer.learning_rate" in caplog.text
    assert found.shown()["alarms"] == "kl"
    after = guards.after(3, updates())
    assert (after.alarms, after.guard_alarms, after.shown()["alarms"]) == ([], 1, "")


def test_a_divergence_that_is_no_number_is_an_alarm_and_the_bound_can_be_left_out():
    assert StepGuards(GuardConfig(), stepper=None).after(1, updates(kl=math.nan)).alarms == ["kl"]
    guards = StepGuards(GuardConfig(kl_warn_above=None), stepper=None)
    assert guards.after(1, updates(kl=math.inf)).alarms == []


def test_all_alarms_of_a_step_are_recorded():
    guards = StepGuards(GuardConfig(), stepper=None)
    found = guards.after(1, updates(kl=2.0, mismatch=0.2, refused=(0,)))
    assert found.recorded() == {
        "canary_change": None,
        "alarms": ["nonfinite_gradient", "logprob_mismatch", "kl"],
        "guard_alarms": 3,
        "refused_updates": 1,
    }
