"""Takes the network from a process, without root, where the kernel allows it.

Standard library only. As a program it tries on itself and says by its exit status whether it can.
"""

import ctypes
import sys

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def cut_network() -> bool:
    """Move this process into a network namespace of its own, whose loopback even is down.

    Returns:
        Whether the network is gone: some kernels and containers forbid user namespaces.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


if __name__ == "__main__":
    sys.exit(0 if cut_network() else 1)
