"""One grader process: reads pairs of expressions on standard input, answers on standard output.

Before it reads anything, the process limits its own memory and processor time per question, and
forbids itself to write files. The pool that starts it (``pool.py``) kills it when it is too slow.
"""

import argparse
import contextlib
import functools
import json
import logging
import math
import os
import re
import resource
import signal
import sys
from typing import Any, BinaryIO

from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from math_verify import verify
from math_verify.grader import should_treat_as_complex

from shared.grading.frames import LENGTH, frame
from shared.grading.isolation import cut_network
from shared.grading.values import (
    may_be_equal,
    same_constant,
    same_region,
    says_nothing,
    with_imaginary_unit,
)
from shared.reaper import PR_SET_PDEATHSIG, prctl

# Units are read before (``kinds/quantities.py``); the library would take any of 150 words and
# letters for one and drop it.
_SPELLING = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
)
_HAS_VALUES = re.compile(r"\d|[<>=]")
_EQUALS = re.compile(r"(?<![<>!\\])=")


def equal(gold: str, given: str) -> bool:
    """Whether two LaTeX or plain expressions are equal; False when either cannot be read."""
    right, said = _read(gold), _read(given)
    if right is None or said is None:
        return False
    try:
        right, said = with_imaginary_unit(right, said)
        same = same_constant(right, said)
        if same is None:
            same = same_region(right, said)
        if same is not None:
            return same
        # Zero turns off the library's own timeout: the pool measures the time.
        return verify(right, said, timeout_seconds=0) and may_be_equal(right, said)
    except Exception:
        return False


# All responses to a question are compared with one gold answer.
@functools.lru_cache(maxsize=64)
def _read(text: str) -> Any:
    """The expression, or what a chain of equations ends in; None when it cannot be read."""
    spelled = normalize_latex(text, _SPELLING)
    last = _EQUALS.split(spelled)[-1]
    for candidate in (spelled, last) if "," not in spelled else (spelled,):
        with contextlib.suppress(Exception):  # the parser raises errors of all kinds
            expression = latex2sympy(
                candidate,
                is_real=not should_treat_as_complex(candidate),
                normalization_config=None,
            )
            return None if says_nothing(expression) and _HAS_VALUES.search(text) else expression
    return None


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
