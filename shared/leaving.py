"""The end of a process that has nothing left to do."""

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave_at_once(status: int) -> NoReturn:
    """End this process without unloading its modules: torch's and vLLM's take seconds.

    A rank that fails leaves without a word to the others, too, which may wait for it in a
    collective: NCCL's orderly end would wait for them, up to ``trainer.collective_timeout_s``;
    torchrun ends them as soon as it sees this rank gone.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # Its reader may have left (``perl-rl permute ... | head``), or it is closed already.
        with contextlib.suppress(BrokenPipeError, ValueError):
            stream.flush()
    os._exit(status)
