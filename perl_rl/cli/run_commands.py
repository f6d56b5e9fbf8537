"""Commands about a whole run, from ``check`` and ``launch`` to ``show`` and ``export``."""

import argparse
import sys
from pathlib import Path

from perl_rl.cli.options import Commands, add_command, add_config, add_set, number, whole

_RUN_DIR = "folder for the run's files (default: runs/<run>)"


def add_run_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``launch``, ``check``, ``plan``, ``report``, ``export``, ``push`` and ``track``."""
    text = "train: start every service on this machine, and stop them at the end"
    launch = add_command(commands, "launch", _launch, text)
    add_config(launch)
    launch.add_argument("--run-dir", type=Path, metavar="DIR", help=_RUN_DIR)
    launch.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    _add_no_view(launch)

    text = (
        "before a run starts: find what is wrong with settings, model and data, and report on them"
    )
    check = add_command(commands, "check", _check, text)
    add_config(check)
    text = "services will run on other machines: do not look for GPUs, ports and Redis from here"
    check.add_argument("--elsewhere", action="store_true", help=text)
    check.add_argument("--run-dir", type=Path, metavar="DIR", help=_RUN_DIR)

    text = "the memory of each process on its GPU, part by part, and whether it fits"
    plan = add_command(commands, "plan", _plan, text)
    add_config(plan)
    plan.add_argument(
        "--gpu-gb",
        type=number(above=0),
        default=80.0,
        metavar="GB",
        help="memory of each GPU, in GB",
    )
    text = "GPUs of this machine (default: as many as the run needs)"
    plan.add_argument("--gpus", type=whole(1), metavar="N", help=text)

    text = "after you started services one by one: wait for the end, evaluate, summarise"
    report = add_command(commands, "report", _report, text)
    add_config(report)
    report.add_argument("--run-dir", type=Path, required=True, help="folder of the run")

    text = "write the policy of a checkpoint as a model folder"
    exported = add_command(commands, "export", _export, text)
    exported.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    which = exported.add_mutually_exclusive_group()
    text = "the checkpoint of this step (default: the newest)"
    which.add_argument("--step", type=whole(0), metavar="N", help=text)
    which.add_argument("--best", action="store_true", help="the best held-out accuracy")
    text = "of a run with model.lora: whole weights, the adapter added to its start model"
    exported.add_argument("--merged", action="store_true", help=text)
    text = "where the model goes; a new folder"
    exported.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)

    text = "upload an exported model to the Hugging Face Hub, with its card"
    pushed = add_command(commands, "push", _push, text)
    pushed.add_argument("model", type=Path, metavar="MODEL", help="what export wrote")
    pushed.add_argument("repository", metavar="OWNER/NAME", help="made if it is not there")
    text = "let everybody see a repository that is made"
    pushed.add_argument("--public", action="store_true", help=text)

    text = "show a run in a tracker: follow its folder until it is over, and send what is new"
    track = add_command(commands, "track", _track, text)
    track.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    text = "which one (default: the only one in the configuration)"
    track.add_argument("--tracker", metavar="NAME", help=text)
    text = "the run's YAML file (default: config.yaml in its folder)"
    track.add_argument("--config", type=Path, metavar="FILE", help=text)
    text = "go on after the run's end too, until SIGTERM: the run may be resumed"
    track.add_argument("--until-stopped", action="store_true", help=text)
    add_set(track, "change settings, e.g. run=NAME")


def add_demo(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``demo``."""
    text = "train a tiny model on handwritten digits, and report on it"
    demo = add_command(commands, "demo", _demo, text)
    demo.add_argument(
        "--run-dir", type=Path, help="folder for the run's files (default: runs/demo)"
    )
    add_set(demo)
    _add_no_view(demo)


def _add_no_view(command: argparse.ArgumentParser) -> None:
    text = "do not serve the run's pages beside it (view.enabled)"
    command.add_argument("--no-view", action="store_true", help=text)


def _overrides(options: argparse.Namespace) -> list[str]:
    """What ``--set`` and ``--no-view`` set."""
    return [*options.overrides, *(("view.enabled=false",) if options.no_view else ())]


def add_status(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``status``."""
    text = "show the nodes, versions, queues and ledger of a run"
    status = add_command(commands, "status", _status, text)
    status.add_argument(
        "--redis", metavar="URL", help="address of Redis (default: $PERL_REDIS_URL, else port 6379)"
    )
    status.add_argument(
        "--run", metavar="NAME", help="which run, when Redis holds several (default: the only one)"
    )
    text = "folder of a run started with launch (default: none, which asks --redis)"
    status.add_argument("--run-dir", type=Path, metavar="DIR", help=text)
    status.add_argument("--watch", action="store_true", help="show it until the run is over")


def add_show(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``show``."""
    text = "one group of a run: its orders, responses, rewards and advantages"
    shown = add_command(commands, "show", _show, text)
    shown.add_argument("group", metavar="GROUP", help="its id; 12 is short for g00000012")
    text = "the run's folder (default: the one in runs that was recorded to last)"
    shown.add_argument("--run", type=Path, metavar="RUN", help=text)
    shown.add_argument("--full", action="store_true", help="show long responses whole")


def add_dead_letters(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``dead-letters``."""
    text = "list what no service of a run could process, and why; also after its end"
    letters = add_command(commands, "dead-letters", _dead_letters, text)
    letters.add_argument("run", type=Path, metavar="RUN", help="the run's folder or YAML file")
    text = "instead, ask the groups of these letters again: all, when no ID is given"
    letters.add_argument(
        "--replay", nargs="*", metavar="ID", help=f"{text} (default: only list them)"
    )


def _launch(options: argparse.Namespace) -> int:
    from perl_rl.launch.main import launch

    return launch(
        options.config,
        run_dir=options.run_dir,
        overrides=_overrides(options),
        resume=options.resume,
        debug=options.debug,
    )


def _check(options: argparse.Namespace) -> int:
    from perl_rl.launch.check import main as check

    return check(options.config, options.run_dir, options.overrides, options.elsewhere)


def _plan(options: argparse.Namespace) -> int:
    from perl_rl.plan.main import main as plan

    return plan(options.config, options.overrides, options.gpu_gb, options.gpus)


def _report(options: argparse.Namespace) -> int:
    from perl_rl.report.main import main as report

    return report(options.config, options.run_dir, options.overrides)


def _export(options: argparse.Namespace) -> int:
    from perl_rl.export.main import export

    return export(options.run, options.out, options.step, options.best, options.merged)


def _push(options: argparse.Namespace) -> int:
    from perl_rl.export.push import push

    return push(options.model, options.repository, options.public)


def _track(options: argparse.Namespace) -> int:
    from perl_rl.trackers.supervise import main as track

    return track(
        options.run, options.tracker, options.config, options.overrides, options.until_stopped
    )


def _demo(options: argparse.Namespace) -> int:
    from perl_rl.demo.run import main as demo

    return demo(run_dir=options.run_dir, overrides=_overrides(options))


def _status(options: argparse.Namespace) -> int:
    from perl_rl.cli.status import status, watch

    if options.watch:
        watch(options.redis, options.run, options.run_dir, sys.stdout)
    else:
        print(status(options.redis, options.run, options.run_dir).text)
    return 0


def _show(options: argparse.Namespace) -> int:
    from perl_rl.cli.show import show

    print(show(options.group, options.run, options.full))
    return 0


def _dead_letters(options: argparse.Namespace) -> int:
    from perl_rl.cli.dead_letters import list_letters, replay_letters

    if options.replay is None:
        lines = list_letters(options.run)
    else:
        lines = replay_letters(options.run, options.replay)
    print("\n".join(lines) if lines else "no dead letters")
    return 0
