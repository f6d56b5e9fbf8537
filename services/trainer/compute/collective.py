"""Small exchanges between ranks: integers by broadcast, maxima and sums by all-reduce."""

import torch
from torch import distributed

from services.trainer.compute.loss import LossSums


def rank() -> int:
    """This process's rank."""
    return distributed.get_rank()


def is_first() -> bool:
    """Whether this is rank 0, which acts for all ranks where only one may."""
    return rank() == 0


def world() -> int:
    """How many ranks there are."""
    return distributed.get_world_size()


def broadcast_integers(values: list[int] | None, device: torch.device) -> list[int]:
    """Rank 0's integers, returned on every rank; the other ranks pass None."""
    count = torch.tensor([len(values or [])], device=device)
    distributed.broadcast(count, src=0)
    tensor = torch.zeros(int(count), dtype=torch.int64, device=device)
    if values is not None:
        tensor.copy_(torch.tensor(values))
    distributed.broadcast(tensor, src=0)
    return tensor.tolist()


def largest(values: list[int], device: torch.device) -> list[int]:
    """Element by element, the largest value on any rank."""
    tensor = torch.tensor(values, device=device)
    distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
    return tensor.tolist()


def added(values: list[float], device: torch.device) -> list[float]:
    """Element by element, the sum over all ranks."""
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    return tensor.tolist()


def gathered(values: torch.Tensor, device: torch.device) -> list[torch.Tensor]:
    """Every rank's (N,) float32 values, of any lengths, on the CPU; every rank calls it."""
    if world() == 1:
        return [values.cpu()]
    lengths = [0] * world()
    lengths[rank()] = len(values)
    lengths = largest(lengths, device)
    mine = torch.zeros(max(lengths), device=device)
    mine[: len(values)] = values
    parts = [torch.empty_like(mine) for _ in lengths]
    distributed.all_gather(parts, mine)
    return [part[:length].cpu() for part, length in zip(parts, lengths, strict=True)]


def total(sums: LossSums, device: torch.device) -> LossSums:
    """The sums over all ranks."""
    names = list(vars(sums))
    values = added([vars(sums)[name] for name in names], device)
    return LossSums(**dict(zip(names, values, strict=True)))
