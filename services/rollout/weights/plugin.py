"""The vLLM plugin that makes our weight-transfer backend known in every vLLM process.

vLLM loads it by its entry point (``vllm.general_plugins``); the backend itself, which needs torch,
is imported only by the worker that creates it. The plugin also ties the engine's life to its node.
"""

import multiprocessing
import multiprocessing.connection
import os
import threading

BACKEND = "perl"
"""Name for ``WeightTransferConfig(backend=...)``."""

NODE_VARIABLE = "PERL_ROLLOUT_NODE"
"""Set by a rollout node for its engine's processes; other engines are left alone."""

_registered = False


def register() -> None:
    """Register the backend with vLLM; calling it again does nothing."""
    global _registered
    if _registered:
        return
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    WeightTransferEngineFactory.register_engine(
        BACKEND, "services.rollout.weights.loader", "MappedFileEngine"
    )
    if os.environ.get(NODE_VARIABLE):
        _end_with_parent()
    _registered = True


def _end_with_parent() -> None:
    """End this process when the one that started it has died, be it by ``kill -9``.

    An engine without its node would keep its memory, or its GPU, for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="node-watch").start()
