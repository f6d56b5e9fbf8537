"""Finds held-out questions that are trained on too: their accuracy would say nothing."""

from collections.abc import Iterator, Mapping

from perl_rl.launch.source_paths import find_sources, shared_files
from shared.config import Config
from shared.formats import Located
from shared.words import amount


def overlap_notes(
    config: Config, train: list[Located], heldout: list[Located], digests: Mapping[str, str]
) -> Iterator[str]:
    """A warning for each file that is both, or else one when questions are.

    Args:
        digests: what each image file shows, as a digest.
    """
    if not heldout:
        return
    files = shared_files(find_sources(config))
    for file, (train_key, heldout_key) in files.items():
        yield (
            f"warning: {heldout_key} and {train_key} read the same file, {file}: the held-out "
            "accuracy will say how well the training data was learnt; hold other questions out"
        )
    known = {_asks(one, digests): one for one in reversed(train)}
    both = [(one, known[_asks(one, digests)]) for one in heldout if _asks(one, digests) in known]
    if both and not files:
        one, other = both[0]
        yield (
            f"warning: {len(both):,} of {amount(len(heldout), 'held-out question')} "
            f"{'is' if len(both) == 1 else 'are'} in the training data too, with the same images "
            f"({one.spot()} is {other.spot()}): leave them out of one of the two"
        )


def _asks(one: Located, digests: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """What a sample asks: its question, whatever its spaces, and what its images show."""
    question = " ".join(one.sample.question.split())
    return question, tuple(digests[image] for image in one.sample.images)
