"""The table of `python -m bench`: goals, verdicts, and its place in a page."""

import sys

import pytest

from bench.__main__ import main, page
from bench.parts import PARTS, Part
from bench.results import Result, table


def test_a_missed_goal_says_by_how_much() -> None:
    low = Result("service", "service / engine", (0.93, 0.9, 0.96), 0.95)
    high = Result("overlap", "step / stage", (1.25, 1.2), 1.1, at_least=False)
    served = Result("weights", "served", (2.5,), 2.0, unit=" GB/s")
    assert low.cells()[2:] == ("0.93", "0.9 to 0.96 (3)", "at least 0.95", "missed by 0.02")
    assert high.cells()[2:] == ("1.23", "1.2 to 1.25 (2)", "at most 1.1", "missed by 0.125")
    assert served.cells()[2:] == ("2.5 GB/s", "2.5 to 2.5 (1)", "at least 2 GB/s", "reached")
    lines = list(table([low, served], [("trl", "its program wrote no figures")]))
    assert len(lines) == 5
    assert lines[-1] == "| trl | its program wrote no figures |  |  |  | not measured |"


def test_the_table_takes_its_place_in_the_page() -> None:
    text = "before\n<!-- bench -->\nold\n<!-- bench end -->\nafter\n"
    assert page(text, ["new"]) == "before\n<!-- bench -->\nnew\n<!-- bench end -->\nafter\n"
    with pytest.raises(ValueError, match="needs one <!-- bench -->"):
        page("nothing", ["new"])


def test_the_cost_of_many_nodes_is_compared_with_that_of_few() -> None:
    costs = ((1, 5.0), (64, 7.0), (1, 4.0), (64, 6.0))
    found = [
        {"side": "this", "nodes": nodes, "total_ms": ms, "possible": 24_000 / ms}
        for nodes, ms in costs
    ]
    found.append({"side": "before", "nodes": 1, "total_ms": 50.0, "possible": 480.0})
    few, many, ratio = PARTS["control"].read(found)
    assert few.values == (4800.0, 6000.0)
    assert many.values == (24_000 / 7, 4000.0)
    assert ratio.values == (7 / 5, 6 / 4)
    assert ratio.missing == pytest.approx(0.25)


def test_a_part_that_writes_nothing_stops_no_other(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PARTS, "control", Part("this", "", "", lambda _: []))
    file = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench", "control", "--quick", "--json", str(file)])
    assert main() == 1
    assert "| control | its program wrote no figures | " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench", "nothing"])
    with pytest.raises(SystemExit):
        main()
    assert "no such part: nothing; there are trl, packed," in capsys.readouterr().err
