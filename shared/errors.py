"""The error a user can mend: one line that names the file, field or service, and what to do."""


class UserError(Exception):
    """Bad input or a broken environment, worded for the person at the terminal.

    The command line prints the message on one line and exits with status 2; a traceback appears
    only with ``--debug``.
    """


class WaitTimeout(UserError):
    """A wait ran out: says who waited, for what, how long, and which setting bounds it."""

    def __init__(self, who: str, what: str, seconds: float, setting: str) -> None:
        super().__init__(f"{who}: waited {seconds:.1f} s for {what} ({setting}); gave up")
