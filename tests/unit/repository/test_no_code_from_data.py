"""No bytes that come from elsewhere are run: what SECURITY.md says, read off the syntax trees."""

import ast
from collections.abc import Iterator

import pytest

from tests.paths import ROOT

FILES = sorted(
    file for part in ("shared", "services", "perl_rl") for file in (ROOT / part).rglob("*.py")
)
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def faults(source: str) -> Iterator[str]:
    """What in `source` could run code that data brings along."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name.split(".")[0] in UNPICKLERS)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNPICKLERS:
                yield module
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords
            ) if not any(ast.unparse(one) == "weights_only=True" for one in keywords):
                yield "torch.load"
            case ast.keyword(arg="trust_remote_code", value=value) if not from_config(value):
                yield f"trust_remote_code={ast.unparse(value)}"


def from_config(value: ast.expr) -> bool:
    """Whether it is read from the configuration, by that name, or off."""
    off = isinstance(value, ast.Constant) and value.value is False
    return off or ast.unparse(value).endswith("model.trust_remote_code")


def test_no_file_runs_code_that_data_brings() -> None:
    found = {file: list(faults(file.read_text(encoding="utf-8"))) for file in FILES}
    assert len(found) > 100
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
    ],
)
def test_the_check_sees_what_it_looks_for(source: str) -> None:
    assert len(list(faults(source))) == 1


def test_tensors_may_be_read() -> None:
    assert list(faults("torch.load(path, weights_only=True)")) == []
