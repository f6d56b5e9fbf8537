"""The vLLM plugin that makes our weight-transfer backend known in every vLLM process.

vLLM loads it by its entry point (``vllm.general_plugins``); the backend itself, which needs torch,
is imported only by the worker that creates it.
"""

BACKEND = "perl"
"""Name for ``WeightTransferConfig(backend=...)``."""

_registered = False


def register() -> None:
    """Register the backend with vLLM; calling it again does nothing."""
    global _registered
    if _registered:
        return
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    WeightTransferEngineFactory.register_engine(
        BACKEND, "services.rollout.weight_loader", "MappedFileEngine"
    )
    _registered = True
