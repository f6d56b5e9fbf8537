"""The command line. Imports what a command needs when it runs, so that ``--help`` answers at once.

Exit status: 0 done, 1 failed, 2 bad input or environment (one line says what and the mend),
130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from perl_rl.cli.options import add_debug, add_set
from perl_rl.data.cli import add_data_commands
from perl_rl.eval.cli import add_eval
from shared.errors import UserError

Command = Callable[[argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except UserError as error:
        if options.debug:
            raise
        print(f"perl-rl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if options.debug:
            raise
        return 130
    except BrokenPipeError:
        # The reader of our output has left (``perl-rl permute ... | head``).
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perl-rl",
        description="PeRL: GRPO over several orders of the same images, as services.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and debug records")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_launch(commands)
    _add_check(commands)
    _add_report(commands)
    for kind in _SERVICES:
        _add_service(commands, kind)
    _add_demo(commands)
    _add_status(commands)
    _add_dead_letters(commands)
    _add_tools(commands)
    add_data_commands(commands)
    add_eval(commands)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    add_debug(parser)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the run's YAML file")
    add_set(parser, _SET)


_SET = "override settings, e.g. rollout.nodes=2"

_SERVICES = {
    "rollout": "services.rollout.serve",
    "reward": "services.reward.serve",
    "trainer": "services.trainer.control.serve",
}
"""Kind of service to the module whose `serve` runs it."""


def _add_launch(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "launch", _launch, "train: everything on this machine, until the end")
    _add_config(parser)
    parser.add_argument("--run-dir", type=Path, help="folder of the run (default: runs/<run>)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def _launch(options: argparse.Namespace) -> int:
    from perl_rl.launch.main import launch

    return launch(
        options.config,
        run_dir=options.run_dir,
        overrides=options.overrides,
        resume=options.resume,
        debug=options.debug,
    )


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "before services that start one by one: write data.prepare's data, check data and model"
    parser = _add(commands, "check", _check, text)
    _add_config(parser)
    parser.add_argument("--run-dir", type=Path, help="folder of the run (default: runs/<run>)")


def _check(options: argparse.Namespace) -> int:
    from perl_rl.launch.check import main as check

    return check(options.config, options.run_dir, options.overrides)


def _add_report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "after services that started one by one: wait for the run's end, evaluate, summarise"
    parser = _add(commands, "report", _report, text)
    _add_config(parser)
    parser.add_argument("--run-dir", type=Path, required=True, help="folder of the run")


def _report(options: argparse.Namespace) -> int:
    from perl_rl.report.main import main as report

    return report(options.config, options.run_dir, options.overrides)


def _add_service(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", kind: str
) -> None:
    parser = commands.add_parser(kind, help=f"the {kind} service")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    serve = _add(actions, "serve", _serve, f"run one {kind} service until it is told to stop")
    serve.set_defaults(kind=kind)
    _add_config(serve)
    serve.add_argument("--name", help=f"name of this service (default: {kind}-<host>-<process>)")
    serve.add_argument("--port", type=int, help=f"HTTP port (default: {kind}.port)")
    serve.add_argument("--run-dir", type=Path, help="folder of the run's files")
    if kind == "trainer":
        serve.set_defaults(command=_serve_trainer)
        text = "which of trainer.hosts this is (default: 0); another than 0 does what join does"
        serve.add_argument("--host", type=int, default=0, metavar="K", help=text)
        _add_join(actions)


def _add_join(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "run the trainer's ranks of a further host (trainer.hosts)"
    parser = _add(actions, "join", _join, text)
    _add_config(parser)
    parser.add_argument("--run-dir", type=Path, help="the run's folder, shared by all hosts")
    parser.add_argument("--host", type=int, required=True, metavar="K", help="1, 2, ...")
    parser.add_argument("--port", type=int, help="HTTP port (default: trainer.port)")


def _serve_trainer(options: argparse.Namespace) -> int:
    """One command for every host: an orchestrator tells its pods apart by their number only."""
    return _serve(options) if options.host == 0 else _join(options)


def _join(options: argparse.Namespace) -> int:
    from services.trainer.hosts.join import join
    from shared.config import load_config
    from shared.config.secrets import secret_words
    from shared.logs import configure

    config = load_config(options.config, options.overrides)
    configure(f"trainer-host-{options.host}", options.debug, secret_words(config))
    return join(config, options.run_dir, options.host, options.port)


def _serve(options: argparse.Namespace) -> int:
    import importlib
    import os
    import socket

    from shared.config import load_config
    from shared.config.secrets import secret_words
    from shared.logs import configure

    config = load_config(options.config, options.overrides)
    if config.redis.url is None:
        raise UserError(f"{options.config}: the key 'redis.url' is missing; a service needs it")
    name = options.name or f"{options.kind}-{socket.gethostname()}-{os.getpid()}"
    configure(name, options.debug, secret_words(config))
    service = importlib.import_module(_SERVICES[options.kind])
    status: int = service.serve(config, name=name, run_dir=options.run_dir, port=options.port)
    return status


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "demo", _demo, "train a tiny model on real digits, with a report")
    parser.add_argument("--run-dir", type=Path, help="folder of the run (default: runs/demo)")
    add_set(parser, _SET)


def _demo(options: argparse.Namespace) -> int:
    from perl_rl.demo.run import main as demo

    return demo(run_dir=options.run_dir, overrides=options.overrides)


def _add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "status", _status, "nodes, versions, queues and ledger of a run")
    parser.add_argument("--redis", metavar="URL", help="default: $PERL_REDIS_URL, else port 6379")
    parser.add_argument("--run", metavar="NAME", help="which run, when Redis holds several")
    parser.add_argument("--run-dir", type=Path, help="folder of a run that launch has started")


def _status(options: argparse.Namespace) -> int:
    from perl_rl.cli.status import status

    print(status(options.redis, options.run, options.run_dir))
    return 0


def _add_dead_letters(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "messages that no service could process"
    actions = commands.add_parser("dead-letters", help=text, description=text).add_subparsers(
        metavar="ACTION", required=True
    )
    shown = _add(actions, "list", _dead_letters, "the run's dead letters, one a line")
    again = _add(actions, "replay", _dead_letters, "ask the groups of dead letters again")
    for parser in (shown, again):
        parser.add_argument("config", type=Path, metavar="CONFIG", help="the run's YAML file")
        parser.set_defaults(ids=None)
    again.add_argument("ids", nargs="*", metavar="ID", help="which (default: all)")


def _dead_letters(options: argparse.Namespace) -> int:
    from perl_rl.cli.dead_letters import list_letters, replay_letters

    replayed = options.ids is not None
    lines = (
        replay_letters(options.config, options.ids) if replayed else list_letters(options.config)
    )
    print("\n".join(lines) if lines else "no dead letters")
    return 0


def _add_tools(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _add(commands, "doctor", _doctor, "what this machine can run, and what is missing")
    _add_score(commands)
    permute = _add(commands, "permute", _permute, "other orders of samples, answers re-indexed")
    permute.add_argument("file", type=Path, metavar="FILE.jsonl")
    permute.add_argument("--orders", type=int, required=True, metavar="K")
    permute.add_argument("--seed", type=int, default=0, metavar="S")


def _add_score(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    score = _add(commands, "score", _score, "grade responses: one JSON object a line")
    add = score.add_argument
    add("file", type=Path, metavar="FILE.jsonl")
    add("--config", type=Path, metavar="CONFIG", help="score as this run does (its YAML file)")
    add_set(score, "override settings, e.g. reward.extraction=lenient")
    text = "a second opinion on answers, but letters, that rules do not find right: an address"
    add("--judge", metavar="URL", help=text)
    add("--judge-model", metavar="NAME", help="the judge's name there")
    add("--judge-key-env", metavar="VARIABLE", help="environment variable that holds its key")
    add("--judge-cache", type=Path, metavar="DIR", help="folder where its verdicts are kept")


def _doctor(options: argparse.Namespace) -> int:
    from perl_rl.cli.doctor import main as doctor

    return doctor()


def _score(options: argparse.Namespace) -> int:
    from perl_rl.cli.score import score_file, settings
    from shared.config.endpoint import key_from_environment

    how = settings(
        options.config,
        options.overrides,
        judge=options.judge,
        judge_model=options.judge_model,
        judge_key=key_from_environment(options.judge_key_env, "score"),
        judge_cache=options.judge_cache,
    )
    score_file(options.file, sys.stdout, how)
    return 0


def _permute(options: argparse.Namespace) -> int:
    from perl_rl.cli.permute import main as permute

    return permute(options.file, options.orders, options.seed)


if __name__ == "__main__":
    sys.exit(main())
