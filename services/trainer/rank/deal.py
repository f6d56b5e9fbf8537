"""Which rank trains which group: each rank gets as many groups, and about as many tokens."""


def deal_groups(groups: list[tuple[str, int]], minibatch: int, ranks: int) -> list[int]:
    """Order a step's groups so that rank r takes groups r, r + `ranks`, ... of each minibatch.

    Within a minibatch the longest groups are dealt first, back and forth over the ranks, so that
    all ranks finish at about the same time.

    Args:
        groups: stream entry id (``ms-seq``) and response tokens of each, oldest first.

    Returns:
        ``[ms, seq, ms, seq, ...]`` of the entries in the new order: integers, to be broadcast.
    """
    numbers: list[int] = []
    for start in range(0, len(groups), minibatch):
        dealt = sorted(groups[start : start + minibatch], key=lambda group: -group[1])
        for round_start in range(0, len(dealt), ranks):
            hand = dealt[round_start : round_start + ranks]
            if (round_start // ranks) % 2:
                hand.reverse()
            for entry_id, _ in hand:
                milliseconds, _, sequence = entry_id.partition("-")
                numbers += [int(milliseconds), int(sequence)]
    return numbers


def entry_ids(numbers: list[int]) -> list[str]:
    """The entries of `deal_groups`, in its order."""
    return [f"{ms}-{seq}" for ms, seq in zip(numbers[::2], numbers[1::2], strict=True)]


def hand_of(entries: list[str], minibatch: int, rank: int, ranks: int) -> list[list[str]]:
    """The entries that one rank takes of each minibatch.

    Args:
        entries: as dealt.
    """
    starts = range(0, len(entries), minibatch)
    return [entries[start : start + minibatch][rank::ranks] for start in starts]
