"""Measure what the project promises, and print one table of it: `make bench`.

    python -m bench [NAME ...] [--quick] [--json FILE] [--docs PAGE]

Every part measures both of its sides in turns. Run it on an idle machine. With ``--quick`` the
parts run at small sizes, to see that they work: those figures mean nothing. The JSON has the
machine's facts and all values; ``--docs`` puts the table into a page, between its two ``bench``
comments, and with ``--from FILE`` the table of an earlier JSON.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.facts import machine
from bench.parts import PARTS, Part
from bench.results import Result, table

HERE = Path(__file__).resolve().parents[1]
_BETWEEN = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- bench end -->)", re.DOTALL)


def run(part: Part, quick: bool, folder: Path) -> list[Result]:
    """What a part measured.

    Raises:
        subprocess.SubprocessError: when its program failed or took too long.
    """
    file = folder / "found.json"
    file.unlink(missing_ok=True)
    options = (part.quick if quick else part.options).split()
    command = [sys.executable, "-m", part.module, *options, "--json", str(file)]
    subprocess.run(command, check=True, timeout=part.limit_s, cwd=HERE, stdin=subprocess.DEVNULL)
    return list(part.read(json.loads(file.read_text())))


def page(text: str, lines: list[str]) -> str:
    """A page's text with these lines between its comments.

    Raises:
        ValueError: when it has no such place.
    """
    changed, places = _BETWEEN.subn(lambda _: "\n".join(lines) + "\n", text)
    if places != 1:
        raise ValueError("needs one <!-- bench --> and one <!-- bench end --> line")
    return changed


def report(found: dict[str, Any]) -> list[str]:
    """The table, with the machine's facts below."""
    results = [Result(**{**one, "values": tuple(one["values"])}) for one in found["results"]]
    facts = ", ".join(f"{name} {_short(value)}" for name, value in found["machine"].items())
    return [*table(results, [tuple(one) for one in found["failed"]]), "", f"{facts}."]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measure(names: list[str], quick: bool) -> dict[str, Any]:
    """Run the parts one after another."""
    found: dict[str, Any] = {"machine": machine() | {"quick": quick}, "results": [], "failed": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"== {name}", flush=True)
            began = time.monotonic()
            try:
                results = run(PARTS[name], quick, Path(folder))
            except (subprocess.SubprocessError, FileNotFoundError) as error:
                found["failed"].append((name, _why(error)))
                print(f"{name}: {_why(error)}", file=sys.stderr)
                continue
            found["results"] += [vars(one) for one in results]
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"its program ended with status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {error.timeout:.0f} s"
    return "its program wrote no figures"


def main() -> int:
    """Print the table; 0 when every part was measured, whether its goal is reached or not."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", type=Path, default=Path("runs/bench.json"))
    parser.add_argument("--from", dest="earlier", type=Path, help="show this JSON; run nothing")
    parser.add_argument("--docs", type=Path, help="the page that gets the table")
    options = parser.parse_args()
    unknown = set(options.names) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.earlier:
        found = json.loads(options.earlier.read_text())
    else:
        found = measure(options.names or list(PARTS), options.quick)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    lines = report(found)
    print("\n".join(lines))
    if options.docs:
        options.docs.write_text(page(options.docs.read_text(), lines))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
