"""Evaluates the start model and the policy on a run's held-out questions.

Each evaluation is a child process (`perl_rl.report.heldout`), so that its parent never loads torch.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.report.account import RunFailed
from perl_rl.report.progress import Progress
from perl_rl.report.watch import LOOK_EVERY_S
from shared.config import Config
from shared.errors import WaitTimeout


class EvaluationFailed(RunFailed):
    """An evaluation ended with another status than 0."""

    def __init__(self, when: str, child: Child) -> None:
        super().__init__(child.ending(f"the evaluation {when} training"))
        self.child = child


class Evaluation:
    """Evaluates the models of one run.

    Args:
        config_file: holds `config`; the child reads it.
        folder: the run's; results go there as ``eval-before.json`` and ``eval-after.json``.
        who: names the caller when an evaluation takes too long.
        environment: variables for the child, added to this process's own.
    """

    def __init__(
        self,
        config: Config,
        config_file: Path,
        folder: Path,
        progress: Progress,
        who: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._config_file = config_file
        self._folder = folder
        self._progress = progress
        self._who = who
        self._environment = dict(environment or {})

    async def run(self, supervisor: Supervisor, when: Literal["before", "after"]) -> dict[str, Any]:
        """The model's `OrderRobustness` as JSON.

        ``before`` is the start model, whose result is kept if it exists; ``after`` is the policy.
        `supervisor` runs nothing else meanwhile.

        Raises:
            EvaluationFailed: when the child failed.
            WaitTimeout: when it takes longer than ``eval.timeout_s``.
        """
        out = self._folder / f"eval-{when}.json"
        if when == "after" or not out.exists():
            await self._evaluate(supervisor, when, out)
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return result

    async def _evaluate(self, supervisor: Supervisor, when: str, out: Path) -> None:
        model = self._config.model.path if when == "before" else self._folder / "policy"
        command = (sys.executable, "-m", "perl_rl.report.heldout", str(self._config_file))
        options = ("--model", str(model), "--out", str(out))
        program = Program(f"evaluation-{when}", (*command, *options), self._environment)
        child = await supervisor.start(program)
        patience = self._config.eval.timeout_s
        deadline = time.monotonic() + patience
        while await supervisor.next_exit(LOOK_EVERY_S) is None:
            said = child.last_lines(1)
            words = said[0] if said else "..."
            self._progress.state(f"evaluation {when} training: {words}", None)
            if time.monotonic() > deadline:
                raise WaitTimeout(self._who, f"evaluation {when}", patience, "eval.timeout_s")
        if child.status != 0:
            raise EvaluationFailed(when, child)
