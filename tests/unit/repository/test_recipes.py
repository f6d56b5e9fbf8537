"""docs/recipes.md has the figures of `perl-rl plan`, and every recipe fits."""

import pytest

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
