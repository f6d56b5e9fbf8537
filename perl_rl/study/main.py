"""``perl-rl study``: runs what is left of a study, and writes its results after each run."""

import time
from pathlib import Path

from perl_rl.ending import RunFailed
from perl_rl.folder_lock import hold_folder
from perl_rl.study.page import study_page
from perl_rl.study.results import collect, earlier_results, write_results
from perl_rl.study.runs import Failures, StudyRuns, check_settings, run_all
from perl_rl.study.spec import Study, checked_configs, read_study
from shared.errors import UserError
from shared.files import write_atomically
from shared.functions import load_function
from shared.machine import processor

PAGE, PICTURE = "study.md", "study.png"

_BUSY = "another perl-rl study is running there; wait for it or choose another --dir"


def main(file: Path, folder: Path | None, only_report: bool = False) -> int:
    """Returns 0 when every run is done, or when only a report was asked for.

    Args:
        file: the study.
        folder: where everything goes; default: ``runs/study-<name>``.
        only_report: run nothing; write the results of what there is.

    Raises:
        RunFailed: when a run failed; the others were run all the same.
        UserError: for a study or a configuration that cannot be used.
    """
    study = read_study(file)
    place = (folder or Path("runs") / f"study-{study.name}").absolute()
    checked_configs(study, file, place)
    check_settings(study, place)
    if only_report:
        if not place.is_dir():
            raise UserError(f"--dir {place}: there is no study yet")
        print(_write(study, file, place, {}))
        return 0
    with hold_folder(place, _BUSY):
        prepare(study, place)
        known = earlier_results(study, place)
        # What is there already and cannot be read is named before anything is started.
        collect(study, place, {}, {})
        runs = StudyRuns(study, place, known, _say, lambda now: _write(study, file, place, now))
        run_all(runs)
        print(_write(study, file, place, runs.failures))
    if runs.failures:
        raise RunFailed(
            f"{len(runs.failures)} of {len(study.runs())} runs failed; the same command tries them "
            f"again from their last checkpoints (logs: {place / 'logs'})"
        )
    return 0


def prepare(study: Study, folder: Path) -> None:
    """Let ``prepare`` write what the runs share.

    Raises:
        UserError: when there is no such function.
    """
    if study.prepare is not None:
        function = load_function(study.prepare, "prepare", ("folder",))
        _say(f"preparing: {study.prepare}")
        function(folder)


def _write(study: Study, file: Path, folder: Path, failures: Failures) -> str:
    """Write results, page and picture; returns the page."""
    # Here, because the library that draws takes a while to import.
    from perl_rl.study.picture import draw

    results = collect(study, folder, failures, {"processor": processor()})
    write_results(folder, results)
    if any(run.done for run in results.runs):
        draw(results, folder / PICTURE)
    page = study_page(results, f"perl-rl study {file}", PICTURE)
    write_atomically(folder / PAGE, page)
    return page


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)
