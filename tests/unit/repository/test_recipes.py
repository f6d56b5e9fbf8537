"""docs/recipes.md has the figures of `perl-rl plan`, and every recipe fits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from perl_rl.plan.main import GB
from perl_rl.plan.shared_memory import needed
from scripts import recipes


@pytest.fixture(scope="module")
def plans() -> recipes.Plans:
    return {name: recipes.planned(name) for name in recipes.RECIPES}


@pytest.mark.slow
def test_the_page_is_what_the_plan_says(plans: recipes.Plans) -> None:
    page = recipes.PAGE.read_text(encoding="utf-8")
    assert recipes.page_with(recipes.tables(plans)) == page, "run: make docs"


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_fits(plans: recipes.Plans, name: str) -> None:
    _, plan, _ = plans[name]
    assert plan.problems() == []


@pytest.mark.slow
def test_the_models_have_their_published_sizes(plans: recipes.Plans) -> None:
    sizes = {recipes.RECIPES[name]: shape.parameters for name, (_, _, shape) in plans.items()}
    assert sizes == {"3b": 3_754_622_976, "7b": 8_292_166_656, "32b": 33_452_718_336}


def test_every_configuration_for_gpus_is_a_recipe() -> None:
    files = {file.stem for file in (recipes.ROOT / "configs").glob("qwen*.yaml")}
    assert files == set(recipes.RECIPES)


def rollout_places() -> Iterator[tuple[str, str, float]]:
    """Each rollout container: where it is written, its configuration, its bytes of /dev/shm."""
    compose = yaml.safe_load((recipes.ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))
    for name, service in compose["services"].items():
        if name.startswith("rollout"):
            size = float(service["shm_size"].removesuffix("gb")) * GB
            yield f"docker-compose.gpu.yml, {name}", Path(service["command"][2]).stem, size
    overlays = recipes.ROOT / "k8s" / "overlays"
    for overlay, config in (("gpu", "qwen2_5_vl_7b"), ("gpu-multinode", "qwen2_5_vl_32b")):
        assert f"configs/{config}.yaml" in (overlays / overlay / "kustomization.yaml").read_text()
        file = overlays / overlay / "rollout.yaml"
        pod = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
        [shm] = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm"]
        memory = pod["containers"][0]["resources"]["requests"]["memory"]
        yield f"k8s/overlays/{overlay}, shm", config, gibibytes(shm["sizeLimit"])
        # What is in /dev/shm counts as the pod's memory.
        yield f"k8s/overlays/{overlay}, memory", config, gibibytes(memory)


def gibibytes(text: str) -> float:
    assert text.endswith("Gi")
    return float(text.removesuffix("Gi")) * 2**30


@pytest.mark.slow
def test_containers_have_room_for_the_version_that_a_node_keeps(plans: recipes.Plans) -> None:
    places = list(rollout_places())
    assert len(places) >= 6
    small = {
        where: (size / GB, needed(sum(plans[config][1].engine.host.values())) / GB)
        for where, config, size in places
        if size <= needed(sum(plans[config][1].engine.host.values()))
    }
    assert small == {}
