"""Finds the Python functions that a configuration names as ``module:function``."""

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shared.errors import UserError

_SHOWN_CHARS = 200
_MOST_PLACES = 6


def load_function(path: str, key: str, arguments: Sequence[str] = ()) -> Callable[..., Any]:
    """The function at ``module:function``.

    Args:
        key: of the configuration, which names it.
        arguments: names of the arguments that it is called with, in their order; empty: not
            checked.

    Raises:
        UserError: when there is no such module or function, the module cannot be imported, or the
            function does not take these arguments.
    """
    module_name, separator, name = path.partition(":")
    if not separator or not module_name or not name:
        raise UserError(f"{key} '{path}': write it as package.module:function")
    named = f"{key} '{path}'"
    if "/" in module_name or module_name.endswith(".py"):
        file = Path(module_name)
        raise UserError(
            f"{named}: names a file; write it as {file.stem}:{name}, with the file's folder on "
            f"PYTHONPATH (PYTHONPATH={file.parent})"
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # What a module does when it is imported is its own.
        raise UserError(_not_imported(named, module_name, error)) from None
    function = getattr(module, name, None)
    if function is None:
        raise UserError(f"{named}: {module_name} has no function '{name}' ({_file_of(module)})")
    if not callable(function):
        raise UserError(
            f"{named}: '{name}' in {_file_of(module)} is of type {type(function).__name__}, which "
            "cannot be called; name a function"
        )
    _check_arguments(function, named, arguments)
    return function


def in_one_line(error: BaseException) -> str:
    """The kind and words of an error, and the file and line that raised it."""
    words = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_CHARS]
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames or "importlib" in frames[-1].filename:
        # A syntax error names its file and line itself.
        return words
    return f"{words} at {frames[-1].filename}:{frames[-1].lineno}"


def _not_imported(named: str, module: str, error: BaseException) -> str:
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and f"{module}.".startswith(f"{absent}."):
        return (
            f"{named}: there is no module {absent}; Python looked in {_looked_in()}; put its "
            "folder on PYTHONPATH, or install it"
        )
    return f"{named}: cannot import {module}: {in_one_line(error)}; Python looked in {_looked_in()}"


def _looked_in() -> str:
    """The folders that Python looks for modules in, without its own library."""
    own = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    places = [Path(place or os.getcwd()) for place in sys.path]
    shown = [str(one) for one in places if one.is_dir() and not own & {one, one.parent}]
    more = f" and {len(shown) - _MOST_PLACES} more" if len(shown) > _MOST_PLACES else ""
    return ", ".join(dict.fromkeys(shown[:_MOST_PLACES])) + more


def _file_of(module: Any) -> str:
    return str(getattr(module, "__file__", None) or "a built-in module")


def _check_arguments(function: Callable[..., Any], named: str, arguments: Sequence[str]) -> None:
    if not arguments:
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # Of a function that is written in C, say: nobody can tell.
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise UserError(
            f"{named}: takes {signature}, but is called with ({', '.join(arguments)}): {error}"
        ) from None
