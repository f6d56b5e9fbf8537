"""What integration tests share. Engines are imported by the tests that need them only."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.paths import START_MODEL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.integration.live_node import LiveNode
    from tests.integration.signals_run import SignalsRun

_ENGINE = "engine"
# These share the session's one node, or start engines of their own.
_ENGINE_FILES = {
    "test_data_prepare",
    "test_eval_endpoint",
    "test_family_engine",
    "test_launch",
    "test_monitoring",
    "test_openapi_live",
    "test_own_data",
    "test_report_evaluation",
    "test_rollout_chat",
    "test_rollout_engine",
    "test_rollout_service",
    "test_signals",
    "test_traces",
    "test_view_launch",
}
_BEFORE_THE_SHARED_NODE = {"test_family_engine"}
# The longest first, so that test processes end at about the same time.
_FIRST = (
    *(
        _ENGINE,
        "test_trainer",
        "test_trainer_ends",
        "test_faults",
        "test_multihost",
        "test_secrets",
    ),
    *("test_resumed_data", "test_trainer_host"),
)


def _group(file: str) -> str:
    """Tests of one group run one after another in the same process."""
    name = Path(file).stem
    return _ENGINE if name in _ENGINE_FILES else name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, and in each the tests that end engines of their own.

    A node that ends lets no engine outlive it in its process: not the shared node's either.
    """
    place = {group: number for number, group in enumerate(_FIRST)}

    def order(item: pytest.Item) -> tuple[int, bool]:
        file = item.path.name
        return place.get(_group(file), len(_FIRST)), Path(file).stem not in _BEFORE_THE_SHARED_NODE

    items.sort(key=order)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share files out to processes (``-n``), those with an engine all to the same one.

    Then a session starts one shared node, and no two engines compute at a time.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByGroup(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(super()._split_scope(nodeid))

    return ByGroup(config, log)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two tiny Qwen2.5-VL models with other weights throughout, and a processor."""
    from perl_rl.demo.model import build_model, build_processor, save

    folders = (tmp_path_factory.mktemp("model-a"), tmp_path_factory.mktemp("model-b"))
    processor = build_processor()
    for seed, folder in enumerate(folders):
        save(build_model(processor, seed), processor, folder)
    return folders


@pytest.fixture(scope="session")
def live_node(
    redis_server: str,
    tiny_models: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator["LiveNode"]:
    """The one rollout node of the session, sampling with the first tiny model's weights."""
    from tests.integration.live_node import running_node

    with running_node(redis_server, tiny_models, tmp_path_factory.mktemp("versions")) as node:
        yield node


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Headless Chromium."""
    from tests.integration.browsing import running_browser

    with running_browser() as found:
        yield found


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A page; the test fails when its console says anything."""
    from tests.integration.browsing import silent_page

    with silent_page(browser) as opened:
        yield opened


@pytest.fixture
def taught_node(live_node: "LiveNode", tiny_models: tuple[Path, Path]) -> Iterator["LiveNode"]:
    """The node with the demo's start model, which answers digit questions; then as it was."""
    from tests.integration.live_node import weights_of

    live_node.publish(weights_of(START_MODEL))
    yield live_node
    live_node.publish(weights_of(tiny_models[0]))


@pytest.fixture(scope="session")
def signals_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SignalsRun"]:
    """The session's run of `test_signals`; Prometheus has scraped it where it is installed."""
    from tests.integration.signals_run import signals_run as run

    with run(tmp_path_factory.mktemp("signals")) as left:
        yield left
