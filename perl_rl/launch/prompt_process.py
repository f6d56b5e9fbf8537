"""The process that renders a run's prompts (`perl_rl.launch.prompts`), seen from its parent.

The launcher never loads torch, which would hold memory and threads during the whole run.
"""

import contextlib
import subprocess
import sys
from types import TracebackType

from perl_rl.counting import Advance
from perl_rl.launch.prompts import Job, Said
from shared.errors import UserError


class PromptProcess:
    """A context manager that starts the process at once: it loads its libraries meanwhile."""

    def __enter__(self) -> "PromptProcess":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perl_rl.launch.prompts"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in the terminal reaches only the parent, which ends this process.
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def check(self, job: Job, advance: Advance) -> list[int]:
        """Have the prompts of `job` checked; returns the length of each in tokens.

        Raises:
            UserError: naming the first sample that the run could not ask, and why.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        # When it has died, its output ends at once.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(job.model_dump_json())
        lengths: list[int] = []
        for line in self._process.stdout:
            said = Said.model_validate_json(line)
            if said.refused is not None:
                raise UserError(said.refused)
            lengths += said.lengths
            for _ in said.lengths:
                advance()
        if len(lengths) < len(job.prompts):
            raise UserError(
                f"the check of the prompts ended with status {self._process.wait()} after "
                f"{len(lengths)} of {len(job.prompts)}; what it wrote is above"
            )
        return lengths
