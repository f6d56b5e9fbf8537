"""The names of all Redis keys of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """Redis keys of one run; all start with ``perl:<run>:``."""

    run: str

    def _name(self, *parts: str) -> str:
        return ":".join(("perl", self.run, *parts))

    @property
    def prompts(self) -> str:
        """Stream of `PromptTask`: trainer to rollout."""
        return self._name("prompts")

    @property
    def trajectories(self) -> str:
        """Stream of `TrajectoryBatch`: rollout to reward."""
        return self._name("trajectories")

    @property
    def groups(self) -> str:
        """Stream of `ScoredGroup`: reward to trainer."""
        return self._name("groups")

    @property
    def dead_letters(self) -> str:
        """Stream of entries that no service could process."""
        return self._name("dead-letters")

    @property
    def ledger(self) -> str:
        """Hash: group id to its state."""
        return self._name("ledger")

    @property
    def counts(self) -> str:
        """Hash: totals of the ledger by state and reason."""
        return self._name("counts")

    @property
    def verdicts(self) -> str:
        """Hash: group id to its first `Verdict`."""
        return self._name("verdicts")

    @property
    def scores(self) -> str:
        """Hash: sums of the scores of all scored groups, kept or dropped."""
        return self._name("scores")

    @property
    def events(self) -> str:
        """Stream with an entry for each settled group; wakes the feeder."""
        return self._name("events")

    @property
    def hints(self) -> str:
        """Stream of the entries that the next step will probably train; the ranks read it."""
        return self._name("hints")

    @property
    def versions(self) -> str:
        """Stream of published policy versions; the last entry is the current one."""
        return self._name("versions")

    @property
    def image_refs(self) -> str:
        """Hash: image SHA-256 to the number of groups in flight that show it."""
        return self._name("image-refs")

    @property
    def group_images(self) -> str:
        """Hash: group id to its images, comma-separated."""
        return self._name("group-images")

    @property
    def nodes(self) -> str:
        """Set of the names of all nodes ever registered."""
        return self._name("nodes")

    @property
    def state(self) -> str:
        """Hash: what the trainer is doing (incarnation, step, phase)."""
        return self._name("state")

    @property
    def control(self) -> str:
        """Hash: what the operator asks of the trainer (pause, checkpoint, stop)."""
        return self._name("control")

    @property
    def hold(self) -> str:
        """Exists while the ranks have to wait before their next step; expires by itself."""
        return self._name("hold")

    @property
    def evaluation(self) -> str:
        """How far an evaluation on the nodes is, in words; expires when nobody renews it."""
        return self._name("evaluation")

    @property
    def image_prefix(self) -> str:
        """Prefix of the keys that hold image bytes, followed by the SHA-256."""
        return self._name("image", "")

    @property
    def records(self) -> str:
        """Stream of settled groups that the recorder has not written yet."""
        return self._name("records")

    @property
    def recording(self) -> str:
        """Hash: which shares of the groups are recorded, and how many may wait; absent when nobody
        records."""
        return self._name("recording")

    @property
    def group_tasks(self) -> str:
        """Hash: group id to its tasks and when they were issued, while it is in flight."""
        return self._name("group-tasks")

    def assembly(self, group_id: str) -> str:
        """Hash of one group: order index to its `ScoredOrder`, until all orders have arrived."""
        return self._name("assembly", group_id)

    def node(self, name: str) -> str:
        """A node's last heartbeat; expires when heartbeats stop."""
        return self._name("node", name)
