"""Free ports, for a server that has to be told its port before it starts."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody uses now; another process may take it before you do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
