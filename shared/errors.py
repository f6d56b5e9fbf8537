"""Errors that a user can fix: one line that names the file, field or service, and what to do."""


class UserError(Exception):
    """Bad input or a broken environment, worded for the person at the terminal.

    The command line prints the message on one line and exits with status 2; a traceback appears
    only with ``--debug``.
    """


class WaitTimeout(UserError):
    """A wait took too long: says who waited, for what, how long, and which setting limits it."""

    def __init__(self, who: str, what: str, seconds: float, setting: str) -> None:
        super().__init__(f"{who}: waited {seconds:.1f} s for {what} ({setting}); gave up")
