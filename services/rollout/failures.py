"""The errors of a rollout node. In their own file, because importing vLLM takes seconds."""


class Unanswerable(Exception):
    """A task that no node can answer: trying again would fail again."""


class SamplingFailed(RuntimeError):
    """The engine gave up a request; another try may succeed."""


class EngineDead(RuntimeError):
    """The engine has ended, and its node with it."""


class EngineFailed(RuntimeError):
    """The engine could not start, or its weights could not be changed."""
