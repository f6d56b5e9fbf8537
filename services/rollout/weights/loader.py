"""The weight-transfer backend inside a vLLM worker: loads a policy version from a mapped file.

The rollout service has fetched and verified the file before the engine was paused; all that happens
here is the copy from the page cache into the model, layer by layer.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from shared.weights.manifest import Manifest

DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
"""The number types of published tensors."""

_OUTPUT = "lm_head.weight"
"""The output layer's weights, as checkpoints name them."""


@dataclass
class NoInit(WeightTransferInitInfo):
    """Nothing to agree on beforehand: the files' paths come with each update."""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """Where the fetched version lies on this host."""

    manifest: str
    """File with the `Manifest` as JSON."""
    data: str
    """File with the version's bytes."""


class MappedFileEngine(WeightTransferEngine[NoInit, FileUpdate]):
    """Loads whole policy versions from a file that all workers of the node map.

    The layerwise reload puts each weight through the same processing as at start-up (on a CPU,
    linear weights are repacked) and keeps the tensors' addresses.
    """

    init_info_cls = NoInit
    update_info_cls = FileUpdate

    def init_transfer_engine(self, init_info: NoInit) -> None:
        """Nothing to set up."""

    def start_weight_update(self) -> None:
        """Make every layer ready to take new weights."""
        # Asked before the reload starts: it takes tied parameters apart until it is finished.
        self._expected = {name for name, _ in self.model.named_parameters()}
        names = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        self._output_tied = any(name.endswith(_OUTPUT) for name in names - self._expected)
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: FileUpdate) -> None:
        """Load the version.

        Raises:
            ValueError: when the version lacks a parameter of the model. The model then holds no
                usable weights; the next complete update repairs it.
        """
        manifest = Manifest.model_validate_json(Path(update_info.manifest).read_text("utf-8"))
        try:
            weights = mapped_tensors(manifest, Path(update_info.data))
            if self._output_tied:
                weights = _with_output_layer(weights)
            loaded = self.model.load_weights(weights)
            missing = self._expected - set(loaded)
            if missing:
                raise ValueError(
                    f"weights {manifest.version} lack {len(missing)} of the model's "
                    f"{len(self._expected)} parameters, {min(missing)} among them"
                )
        except BaseException:
            # Half-loaded layers would count what they hold twice in the next update.
            finalize_layerwise_reload(self.model, self.model_config)
            raise

    def finish_weight_update(self) -> None:
        """Process the layers that wait for the end (attention)."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held between updates."""


def mapped_tensors(manifest: Manifest, data: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a version as views of the mapped file, in the order of the manifest."""
    with data.open("rb") as file:
        # A private writable mapping: torch has no read-only tensors and would warn.
        mapped = mmap.mmap(file.fileno(), manifest.nbytes, access=mmap.ACCESS_COPY)
    for tensor in manifest.tensors:
        dtype = DTYPES[tensor.dtype]
        flat = torch.frombuffer(
            mapped, dtype=dtype, count=tensor.nbytes // dtype.itemsize, offset=tensor.offset
        )
        yield tensor.name, flat.view(tensor.shape)


def _with_output_layer(
    weights: Iterator[tuple[str, torch.Tensor]],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name tied embeddings a second time, as the output layer's weights.

    On a CPU vLLM multiplies with a packed copy of the output layer's weights, which it makes when
    that layer is loaded: without this the copy would outlive the weights.
    """
    for name, tensor in weights:
        yield name, tensor
        if name.endswith("embed_tokens.weight"):
            yield _OUTPUT, tensor
