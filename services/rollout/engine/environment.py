"""The environment of vLLM: variables that it reads while it is imported."""

import os

DEFAULTS = {
    # By default it logs a lot, and warns at each load of weights.
    "VLLM_LOGGING_LEVEL": "ERROR",
    # The engine starts in a thread beside the event loop, so its processes must not be forks.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # In-flight updates, log-probabilities and seeds are tested with this runner; on CUDA vLLM would
    # choose the newer one.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    # FlashInfer's sampler is compiled at the first request that needs it, which takes nvcc.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
"""Variables and their values; a variable that is set already keeps its value."""


def prepare_environment() -> None:
    """Set the variables of this process; call it before vLLM is imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
