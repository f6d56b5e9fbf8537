"""How a machine's cores and GPUs are divided."""

import pytest

from perl_rl.launch.division import Division, divide_cores, divide_gpus, divide_machine
from shared.errors import UserError


def _cores(division: Division) -> tuple[list[set[int]], set[int]]:
    engines = [set(share.cores or ()) for share in division.rollout]
    return engines, set(division.trainer.cores or ())


def test_two_cores_give_engine_and_trainer_one_each() -> None:
    division = divide_cores([0, 1], nodes=1, ranks=1)
    assert _cores(division) == ([{0}], {1})
    assert division.rollout[0].threads == division.trainer.threads == 1


def test_two_engines_share_a_core_so_that_the_trainer_keeps_its_own() -> None:
    assert _cores(divide_cores([0, 1], nodes=2, ranks=1)) == ([{0}, {0}], {1})


def test_two_ranks_share_a_core_so_that_the_engine_keeps_its_own() -> None:
    division = divide_cores([0, 1], nodes=1, ranks=2)
    assert _cores(division) == ([{0}], {1})
    assert division.trainer.threads == 1


def test_one_core_is_shared_by_all() -> None:
    assert _cores(divide_cores([3], nodes=2, ranks=2)) == ([{3}, {3}], {3})


def test_an_engine_computes_on_its_own_cores_only() -> None:
    engine = divide_cores([4, 5, 6, 7], nodes=1, ranks=1).rollout[0]
    assert engine.engine_environment()["VLLM_CPU_OMP_THREADS_BIND"] == "4,5"
    assert engine.engine_environment()["OMP_NUM_THREADS"] == "2"


def test_an_engine_on_gpus_is_not_bound_to_cores() -> None:
    engine = divide_gpus(list("01"), 8, nodes=1, ranks=1, tensor_parallel=1, share=False).rollout[0]
    assert "VLLM_CPU_OMP_THREADS_BIND" not in engine.engine_environment()


@pytest.mark.parametrize("nodes", range(1, 6))
@pytest.mark.parametrize("ranks", range(1, 5))
@pytest.mark.parametrize("count", [2, 3, 4, 7, 16])
def test_engines_and_trainer_never_share_and_threads_fit(
    count: int, ranks: int, nodes: int
) -> None:
    cores = list(range(10, 10 + count))
    division = divide_cores(cores, nodes, ranks)
    engines, trainer = _cores(division)
    assert len(engines) == nodes
    assert trainer
    assert set().union(*engines) | trainer <= set(cores)
    assert not set().union(*engines) & trainer
    assert all(
        len(own) == share.threads for own, share in zip(engines, division.rollout, strict=True)
    )
    if count >= nodes + ranks:
        assert sum(len(own) for own in engines) + len(trainer) == count, "every core is used"
        assert sum(len(own) for own in engines) == len(set().union(*engines)), "none is shared"
        assert division.trainer.threads * ranks == len(trainer)


def test_each_engine_and_rank_gets_gpus_of_its_own() -> None:
    division = divide_gpus(list("01234567"), 64, nodes=2, ranks=4, tensor_parallel=2, share=False)
    assert [share.gpus for share in division.rollout] == [("0", "1"), ("2", "3")]
    assert division.trainer.gpus == ("4", "5", "6", "7")
    assert division.trainer.environment()["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"
    assert division.light.environment()["CUDA_VISIBLE_DEVICES"] == ""


def test_too_few_gpus_are_refused_with_the_settings_to_lower() -> None:
    with pytest.raises(
        UserError, match=r"rollout\.nodes \(1\).*need 2 GPUs, but this process sees 1"
    ):
        divide_gpus(["0"], 8, nodes=1, ranks=1, tensor_parallel=1, share=False)


def test_gpus_are_shared_when_asked() -> None:
    division = divide_gpus(["0"], 8, nodes=1, ranks=1, tensor_parallel=1, share=True)
    assert division.rollout[0].gpus == division.trainer.gpus == ("0",)
    with pytest.raises(UserError, match="need 3 GPUs"):
        divide_gpus(["0"], 8, nodes=1, ranks=2, tensor_parallel=1, share=True)


def test_a_parallel_engine_needs_gpus() -> None:
    with pytest.raises(UserError, match=r"^rollout\.engine\.tensor_parallel_size: 2 needs as many"):
        divide_machine("cpu", 1, 1, tensor_parallel=2, share_gpus=False)
    assert len(divide_machine("cpu", 1, 1, tensor_parallel=1, share_gpus=False).rollout) == 1
