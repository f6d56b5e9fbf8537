"""The record of settled groups (docs/record.md)."""

from shared.config.section import Count, Fraction, Section


class RecordConfig(Section):
    """What a run writes down about each settled group, for people to look at."""

    share: Fraction = 1.0
    """Share of the trained groups that are recorded; 0: none. Chosen by the group's id, so a
    resumed run records the same ones."""
    dropped: Fraction = 1.0
    """Share of the dropped and skipped groups that are recorded."""
    tokens: bool = True
    """Write token ids, and each token's log-probabilities by sampler and trainer: about 12 bytes a
    token, before compression."""
    keep_steps: Count | None = None
    """Steps whose groups are kept, the newest ones; empty: all. Images that no kept group shows are
    deleted too."""
    queue: Count = 512
    """Settled groups that may wait to be written, in Redis. When the disk cannot keep up, groups
    beyond these are not recorded; they are counted, and training does not wait."""
