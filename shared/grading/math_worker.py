"""One grader process: reads pairs of expressions on standard input, answers on standard output.

Before it reads anything, the process limits its own memory and processor time per question, and
forbids itself to write files. The pool that starts it (``pool.py``) kills it when it is too slow.
"""

import argparse
import json
import logging
import math
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from math_verify import LatexExtractionConfig, parse, verify

from shared.grading.frames import LENGTH, frame
from shared.grading.isolation import cut_network
from shared.reaper import PR_SET_PDEATHSIG, prctl

# One object for all calls: the library compiles its patterns once for each object.
_EXTRACTION = [LatexExtractionConfig(boxed_match_priority=0)]


def equal(gold: str, given: str) -> bool:
    """Whether two LaTeX or plain expressions are equal; False when either cannot be read."""
    # Zero turns off the library's own timeouts: the pool measures the time.
    gold_side, given_side = (
        parse(f"\\boxed{{{side}}}", _EXTRACTION, fallback_mode="no_fallback", parsing_timeout=0)
        for side in (gold, given)
    )
    return bool(verify(gold_side, given_side, timeout_seconds=0))


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="math_worker")
    parser.add_argument("--memory-mib", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    options = parser.parse_args()
    # Output of libraries must not mix with the frames, and may quote megabytes of an answer.
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    logging.disable(logging.CRITICAL)
    # Ctrl-C reaches every process of a terminal; this one ends with its input or its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Loads what the libraries load on first use, so that it does not count against the limits.
    equal(r"\frac{1}{2} + x^2", "x^2 + 0.5")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.dup2(nothing, sys.stderr.fileno())
    network = not cut_network()
    memory = options.memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(frames, {"ready": True, "network": network})
    while (question := _receive(sys.stdin.buffer)) is not None:
        _limit_processor_time(options.timeout_s)
        _send(frames, {"equal": all(equal(gold, given) for gold, given in question["pairs"])})


def _limit_processor_time(seconds: float) -> None:
    """Let the kernel end an endless question, in case the pool no longer exists."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, most))


def _receive(stream: BinaryIO) -> Any:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    return json.loads(stream.read(length))


def _send(stream: BinaryIO, answer: dict[str, bool]) -> None:
    stream.write(frame(answer))
    stream.flush()


if __name__ == "__main__":
    main()
