"""What the documents say that can be typed or followed: commands, flags, keys, files, targets."""

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from perl_rl.cli import main as cli
from perl_rl.data.config import STAGES, PrepareConfig
from shared.config import Config
from tests.paths import ROOT

PAGES = sorted(
    page for place in ("*.md", "docs/*.md", "examples/*/*.md") for page in ROOT.glob(place)
)
PARSER = cli.command_line()
FOLDERS = (
    "bench",
    "configs",
    "docs",
    "k8s",
    "monitoring",
    "perl_rl",
    "scripts",
    "services",
    "shared",
    "tests",
)

FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s#]+)[^)\s]*\)")
KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> list[str]:
    """Code inside the text."""
    return INLINE.findall(FENCED.sub("", text_of(page)))


def typed(page: Path) -> Iterator[list[str]]:
    """Words of each ``perl-rl`` command in a block, without the prompt, comments and pipes."""
    for block in FENCED.findall(text_of(page)):
        joined = re.sub(r"(\\\n|\n(?= {4,}[\[-]))\s*", " ", block)
        for line in joined.splitlines():
            command = re.search(r"(?:^|\s)(?:\.venv/bin/)?perl-rl (?!error)(.*)", line.rstrip())
            if command and not line.startswith("perl-rl: "):
                plain = re.sub(r"\$\([^)]*\)", "x", command[1])
                piped = r"$^" if "[--" in plain else r" [|;] | &&"
                yield shlex.split(re.split(piped, plain)[0], comments=True)


def commands() -> list[tuple[str, list[str]]]:
    return [(page.name, words) for page in PAGES for words in typed(page)]


def ours(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of the command that `words` begin with, and what follows.

    Raises:
        AssertionError: when there is no such command.
    """
    parser, left = PARSER, list(words)
    while left and (choices := subcommands(parser)):
        if left[0] not in choices:
            # `eval` has an action beside options of its own.
            assert left[0].startswith("-") or not left[0].islower(), f"no command {words}"
            break
        parser = choices[left.pop(0)]
    return parser, left


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def known(parser: argparse.ArgumentParser, words: list[str]) -> None:
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    options = {option for action in parser._actions for option in action.option_strings}
    assert set(flags) <= options, f"{parser.prog} has no {set(flags) - options}"


def test_the_documents_are_found() -> None:
    assert {"README.md", "ARCHITECTURE.md", "deploy.md", "evaluation.md"} <= {
        page.name for page in PAGES
    }
    assert len(commands()) > 30


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda one: one if isinstance(one, str) else " ".join(one)
)
def test_every_command_in_a_block_is_taken(page: str, words: list[str]) -> None:
    if "..." in words or any(word.startswith(("[", "(")) for word in words):
        # A synopsis: its flags exist.
        plain = [word.strip("[]()") for word in words]
        known(*ours([word for word in plain if word not in ("|", "...", "")]))
        return
    # One capital letter stands for a number.
    filled = ["1" if re.fullmatch("[A-Z]", word) else word for word in words]
    options = PARSER.parse_args(filled)
    for override in getattr(options, "overrides", []):
        key = override.partition("=")[0]
        assert has(PrepareConfig if words[0] == "data" else Config, key), f"{page}: no key {key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_text_exists(page: Path) -> None:
    for code in prose(page):
        if code.startswith("perl-rl "):
            for form in alternatives(code.split()[1:]):
                known(*ours(form))


def alternatives(words: list[str]) -> list[list[str]]:
    """``data filter|label`` as two."""
    for place, word in enumerate(words):
        if "|" in word:
            return [[*words[:place], one, *words[place + 1 :]] for one in word.split("|")]
    return [words]


def has(model: type[BaseModel], key: str) -> bool:
    """Whether `model` has the dotted `key`, through optional and united types."""
    found: list[type[BaseModel]] = [model]
    *parents, last = key.split(".")
    for name in parents:
        found = [
            inner
            for one in found
            if name in one.model_fields
            for inner in models(one.model_fields[name].annotation)
        ]
    return any(last in one.model_fields for one in found)


def dotted(section: dict) -> Iterator[str]:
    """The keys of nested mappings; lists are left to others."""
    for key, value in section.items():
        inner = value if isinstance(value, dict) else {}
        yield from (f"{key}.{below}" for below in dotted(inner))
        yield str(key)


def examples() -> list[tuple[str, str]]:
    """The YAML that pages show, and whose it is."""
    return [(page.name, block) for page in PAGES for block in YAML.findall(text_of(page))]


def test_every_key_of_an_example_is_known() -> None:
    assert len(examples()) > 4
    assert has(Config, "trainer.objective.preset") and not has(Config, "trainer.objective.step")
    for page, block in examples():
        model = PrepareConfig if page == "prepare.md" else Config
        for key in dotted(yaml.safe_load(block)):
            # What is asked for by pass rate is a number, not a key.
            assert has(model, key) or key.rpartition(".")[0] == "balance.target", f"{page}: {key}"


def models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for part in getattr(annotation, "__args__", ()) for one in models(part)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_in_the_text_is_known(page: Path) -> None:
    for code in prose(page):
        code = code.removeprefix("--set ")
        for word in code.split():
            key = word.partition("=")[0].rstrip(":")
            section, dot, _ = key.partition(".")
            if dot and KEY.fullmatch(key) and section in Config.model_fields:
                assert has(Config, key) or key.endswith((".py", ".yaml")), key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", text_of(page))):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_exists(page: Path) -> None:
    # The example change of CONTRIBUTING.md; test_contributing.py makes it.
    new = set(re.findall(r"New file `([^`]+)`", text_of(page)))
    for code in [*prose(page), *" ".join(FENCED.findall(text_of(page))).split()]:
        path = code.strip(",;:'\"()").partition("::")[0]
        if path.split("/")[0] in FOLDERS and "/" in path and re.fullmatch(r"[\w./-]+", path):
            # Secrets are written by hand, after an example.
            exists = (ROOT / path).exists() or (ROOT / f"{path}.example").exists()
            assert exists or path in new, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    text = text_of(page)
    code = [*prose(page), *FENCED.findall(text)]
    for target in re.findall(r"(?:^|[$`] ?)make ([a-z0-9-]+)", text, re.MULTILINE):
        assert target in targets, target
    for module in re.findall(rf"python -m ((?:{'|'.join(FOLDERS)})\.[\w.]+)", "\n".join(code)):
        assert importlib.util.find_spec(module) is not None, module


def test_every_metric_that_the_text_names_is_one() -> None:
    folders = (ROOT / "services", ROOT / "shared")
    source = "\n".join(text_of(file) for folder in folders for file in folder.rglob("*.py"))
    names = {name for page in PAGES for name in re.findall(r"`(perl_[a-z_]+)", text_of(page))}
    metrics = names - {"perl_rl", "perl_code"}
    assert len(metrics) > 5
    for name in metrics:
        forms = (name, name.removesuffix("_total"), name.removeprefix("perl_trainer_"))
        assert any(f'"{form}"' in source for form in forms), name


def test_the_stages_that_the_pages_name_are_commands() -> None:
    assert set(STAGES) <= subcommands(subcommands(PARSER)["data"]).keys()
