"""Whether the rollout nodes of one machine have room in ``/dev/shm`` for the versions they keep."""

import shutil
from pathlib import Path

from perl_rl.plan.parts import Need
from shared.config import Config
from shared.words import amount

SHARED_MEMORY = Path("/dev/shm")
GB = 1e9


def needed(version: float, nodes: int = 1) -> float:
    """Bytes of ``/dev/shm`` with which `nodes` nodes all keep a version there.

    A node goes there when twice a version's bytes are free
    (`services.rollout.weights.local_copy.roomy`), and then takes them once.
    """
    return version * (nodes + 1)


def shared_memory_notes(config: Config, engine: Need, folder: Path = SHARED_MEMORY) -> list[str]:
    """A line when ``/dev/shm`` of this machine is too small for the nodes that `launch` starts.

    The run still starts: the nodes then keep the version on disk.
    """
    version, nodes = sum(engine.host.values()), config.rollout.nodes
    if not version:
        return []
    there = shutil.disk_usage(folder).total if folder.is_dir() else 0
    if there > needed(version, nodes):
        return []
    return [
        f"note: /dev/shm of this machine has {_size(there)}, and "
        f"{amount(nodes, 'rollout node')} on it would need {_size(needed(version, nodes))} to "
        f"keep {'its version' if nodes == 1 else 'their versions'} there ({_size(version)} each, "
        "and one more free): they will use the temporary folder, which is slower; enlarge "
        "/dev/shm (--shm-size of a container)"
    ]


def _size(number: float) -> str:
    return f"{number / GB:.1f} GB" if number >= 0.1 * GB else f"{number / 1e6:.0f} MB"
