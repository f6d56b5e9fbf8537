"""Cuts a process off from the network, without root, where the kernel allows it.

Standard library only. Run as a program, it tries this on itself and exits with 0 on success.
"""

import ctypes
import sys

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def cut_network() -> bool:
    """Move this process into a new network namespace, in which even the loopback is down.

    Returns:
        Whether it worked: some kernels and containers forbid user namespaces.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


if __name__ == "__main__":
    sys.exit(0 if cut_network() else 1)
