"""A function that cannot be used is refused with its name, the reason and where Python looked."""

import sys
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.functions import load_function

ARGUMENTS = ("response", "gold")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path, with modules of several kinds."""
    for name, text in {
        "sound": (
            "def takes_two(response, gold): ...\n"
            "def takes_any(*given): ...\n"
            "def takes_one(response): ...\n"
            "class Callable:\n"
            "    def __call__(self, response, gold): ...\n"
            "an_object = Callable()\n"
            "constant = 3\n"
        ),
        "misspelt": "def f(:\n",
        "divides": "def f():\n    return 1 / 0\nf()\n",
        "leaves": "import sys\nsys.exit(3)\n",
        "needs_more": "import a_library_that_is_not_there\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["takes_two", "takes_any", "an_object"])
def test_what_can_be_called_is_loaded(folder: Path, name: str) -> None:
    assert callable(load_function(f"sound:{name}", "key", ARGUMENTS))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sound", "write it as package.module:function"),
        (":takes_two", "write it as package.module:function"),
        ("sound:", "write it as package.module:function"),
        ("./own/sound.py:f", "names a file; write it as sound:f, with the file's folder on PYTHON"),
        ("sound.py:takes_two", "write it as sound:takes_two"),
        ("no.such.module:f", "there is no module no; Python looked in {folder}, "),
        ("sound.part:f", "there is no module sound.part; Python looked in {folder}, "),
        ("sound:nothing", "sound has no function 'nothing' ({folder}/sound.py)"),
        ("sound:constant", "'constant' in {folder}/sound.py is of type int"),
        (
            "sound:takes_one",
            "takes (response), but is called with (response, gold): too many positional arguments",
        ),
        ("misspelt:f", "cannot import misspelt: SyntaxError: invalid syntax (misspelt.py, line 1)"),
        (
            "divides:f",
            "cannot import divides: ZeroDivisionError: division by zero at {folder}/divides.py:2; "
            "Python looked in {folder}",
        ),
        ("leaves:f", "cannot import leaves: SystemExit: 3 at {folder}/leaves.py:2"),
        (
            "needs_more:f",
            "cannot import needs_more: ModuleNotFoundError: No module named "
            "'a_library_that_is_not_there' at {folder}/needs_more.py:1",
        ),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_reason(
    folder: Path, path: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_function(path, "reward.function", ARGUMENTS)
    text = str(caught.value)
    assert text.startswith(f"reward.function '{path}': ")
    assert message.format(folder=folder) in text
    assert "\n" not in text
