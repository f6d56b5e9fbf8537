"""This process's children, for tests that look for one of them."""

import psutil


def children_with(word: str) -> list[psutil.Process]:
    """Those at any depth that have `word` in their command line; ended ones have none."""
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if any(word in part for part in one.cmdline()):
                found.append(one)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found
