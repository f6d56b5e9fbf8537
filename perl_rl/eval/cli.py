"""``perl-rl eval``: run benchmarks, write their questions as samples, compare results."""

import argparse
import hashlib
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perl_rl.cli.options import add_debug, add_set, number, whole
from shared.errors import UserError
from shared.files import make_place
from shared.words import amount

if TYPE_CHECKING:
    from perl_rl.eval.items import Benchmark, Item
    from perl_rl.eval.models import Decoding, Model
    from perl_rl.eval.rows import BadRow
    from services.reward.judge import Judge
    from shared.config import Config
    from shared.config.endpoint import EndpointConfig


def add_eval(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``eval`` and, below it, ``eval compare`` and ``eval samples``."""
    text = "score a model on a benchmark, and under other orders of the images"
    parser = commands.add_parser("eval", help=text, description=text)
    parser.set_defaults(command=_eval)
    add_debug(parser)
    _add_questions(parser)
    _add_orders(parser)
    _add_model(parser)
    _add_judge(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help="where the result goes; needed"
    )
    actions = parser.add_subparsers(metavar="[compare|samples]")
    text = "compare two results on the same benchmark, item by item"
    compare = actions.add_parser("compare", help=text, description=text)
    compare.set_defaults(command=_compare)
    add_debug(compare)
    compare.add_argument("a", type=Path, metavar="A.json", help="a result of perl-rl eval")
    compare.add_argument("b", type=Path, metavar="B.json", help="another one")
    compare.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="write the comparison there too (default: none)",
    )
    text = "compare only the questions that both have, where they differ"
    compare.add_argument("--common", action="store_true", help=text)
    text = "write a benchmark's questions as samples, as input of perl-rl data label"
    samples = actions.add_parser("samples", help=text, description=text)
    samples.set_defaults(command=_samples)
    add_debug(samples)
    _add_questions(samples)
    samples.add_argument(
        "--out",
        type=Path,
        metavar="FILE.jsonl",
        help="where they go, with images/ beside it; needed",
    )


def _add_questions(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    names = (
        "mantis-eval, blink, mmiu, remi, mv-math, mathvista, mathverse, mathvision, muirbench or "
        "mirb; needed"
    )
    add("--benchmark", metavar="NAME", help=names)
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help="the benchmark's file, or the folder of its files; needed",
    )
    add(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of the images that the data names (default: that of the file)",
    )
    add("--split", help="which part (default: that of the published numbers)")
    add("--limit", type=whole(1), metavar="N", help="read only N rows, for a trial (default: all)")
    text = "leave out rows that do not fit, and name them in the result"
    add("--skip-bad-rows", action="store_true", help=text)


def _add_orders(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--orders",
        type=whole(1),
        default=1,
        metavar="K",
        help="how many orders of its images to ask each question in",
    )
    text = "also ask the original order K times: how often answers change in the same order"
    add("--floor", action="store_true", help=text)
    text = (
        "samples.jsonl of perl-rl data label, which decides how each question is permuted "
        "(default: the benchmark's own rules)"
    )
    add("--order-rules", type=Path, metavar="FILE", help=text)
    add("--seed", type=whole(0), default=0, metavar="S", help="for the orders and for sampling")


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        metavar="PATH",
        help="a model folder, run by vLLM here; this or --endpoint is needed",
    )
    text = "OpenAI-compatible addresses, http://../v1; of several, each gets its share"
    add("--endpoint", nargs="+", metavar="URL", help=text)
    add("--model-name", metavar="NAME", help="the model's name there; needed with --endpoint")
    add(
        "--api-key-env",
        metavar="VARIABLE",
        help="environment variable that holds the endpoint's key",
    )
    add(
        "--concurrency",
        type=whole(1),
        default=16,
        metavar="N",
        help="requests at the same time, to all addresses together",
    )
    add(
        "--timeout-s",
        type=number(above=0),
        default=600.0,
        metavar="S",
        help="the longest time for one request, in seconds",
    )
    add(
        "--retries",
        type=whole(0),
        default=3,
        metavar="N",
        help="how often to repeat a request that failed",
    )
    add(
        "--max-tokens",
        type=whole(1),
        default=2048,
        metavar="N",
        help="the longest response, in tokens",
    )
    add("--temperature", type=number(least=0), default=0.0, metavar="T", help="0 is greedy")
    text = "text after every question (default: that of --config, else that of training)"
    add("--instruction", metavar="TEXT", help=text)
    text = "a run's YAML file: --model is asked with its model.*, rollout.* and instruction"
    add("--config", type=Path, metavar="CONFIG", help=text)
    add_set(parser, "settings of --model's engine, e.g. rollout.engine.max_model_len=16384")


def _add_judge(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "address of a language model that judges open answers which the rules find wrong"
    add("--judge", metavar="URL", help=text)
    add("--judge-model", metavar="NAME", help="the judge's name there; needed with --judge")
    add(
        "--judge-key-env",
        metavar="VARIABLE",
        help="environment variable that holds the judge's key",
    )


def _eval(options: argparse.Namespace) -> int:
    _check(options)
    from perl_rl.eval.models import Decoding
    from perl_rl.eval.results import write_result
    from perl_rl.eval.run import Asking, evaluate
    from perl_rl.eval.table import table

    benchmark = _benchmark(options.benchmark)
    engine = _engine(options)
    decoding = Decoding(_instruction(options, engine), options.max_tokens, options.temperature)
    name, model, model_settings = _model(options, engine, decoding)
    work = options.out.with_suffix(".work")
    skipped: list[BadRow] = []
    items = _items(options, benchmark, work / "images", skipped)
    if options.order_rules is not None:
        from perl_rl.eval.order_rules import with_order_rules

        items = with_order_rules(items, options.order_rules)
        rules = hashlib.sha256(options.order_rules.read_bytes()).hexdigest()
        model_settings = model_settings | {"order_rules_sha256": rules}
    result = evaluate(
        benchmark,
        items,
        name,
        model,
        Asking(decoding, options.orders, options.floor, options.seed),
        work / "journal.jsonl",
        model_settings,
        _judge(options, work / "judge"),
        skipped,
    )
    write_result(result, options.out)
    print(table(benchmark, result))
    return 0


def _samples(options: argparse.Namespace) -> int:
    from perl_rl.eval.order_rules import write_samples
    from perl_rl.eval.rows import by_reason, skipped_lines

    _check_named(options)
    make_place(options.out, "--out")
    skipped: list[BadRow] = []
    kept = options.out.parent / "images"
    items = _items(options, _benchmark(options.benchmark), kept, skipped)
    write_samples(items, options.out)
    print(
        "\n".join(
            [f"{options.out}: {amount(len(items), 'sample')}", *skipped_lines(by_reason(skipped))]
        )
    )
    return 0


def _items(
    options: argparse.Namespace, benchmark: "Benchmark", kept: Path, skipped: "list[BadRow]"
) -> "list[Item]":
    """The questions. Their images go into the folder `kept`, rows left out into `skipped`."""
    from perl_rl.eval.loading import load_items
    from perl_rl.eval.pictures import Pictures

    pictures = Pictures(kept, [options.images] if options.images else [])
    return load_items(
        benchmark,
        options.data,
        pictures,
        options.split,
        options.limit,
        skipped if options.skip_bad_rows else None,
    )


def _check_named(options: argparse.Namespace) -> None:
    for name in ("benchmark", "data", "out"):
        if getattr(options, name) is None:
            raise UserError(f"eval: --{name} is missing; see perl-rl eval --help")


def _check(options: argparse.Namespace) -> None:
    _check_named(options)
    if (options.model is None) == (options.endpoint is None):
        raise UserError("eval: name either --model PATH or --endpoint URL")
    if options.endpoint is not None and options.model_name is None:
        raise UserError("eval: --endpoint needs --model-name, the model's name there")
    if options.endpoint is not None and options.config is not None:
        raise UserError("eval: --config is for --model; an endpoint has its own settings")
    if options.endpoint is not None and options.overrides:
        raise UserError("eval: --set is for --model; an endpoint has its own settings")
    if (options.judge is None) != (options.judge_model is None):
        raise UserError("eval: --judge URL and --judge-model NAME go together")
    if options.temperature < 0:
        raise UserError(f"eval: --temperature {options.temperature}: must not be negative")
    if options.order_rules is not None and options.orders < 2:
        raise UserError(
            "eval: --order-rules needs --orders K, 2 at least: it says how questions are permuted"
        )
    if options.floor and options.orders < 2:
        raise UserError(
            "eval: --floor needs --orders K, 2 at least: it asks the original order K times"
        )
    if options.out.suffix != ".json":
        raise UserError(f"eval: --out {options.out}: must end in .json")
    make_place(options.out, "--out")


def _benchmark(name: str) -> "Benchmark":
    from perl_rl.eval.benchmarks import BENCHMARKS

    if name not in BENCHMARKS:
        raise UserError(
            f"eval: --benchmark {name}: not a benchmark; name one of {', '.join(BENCHMARKS)}"
        )
    return BENCHMARKS[name]


def _engine(options: argparse.Namespace) -> "Config | None":
    """The configuration of the engine for --model."""
    from perl_rl.eval.models import engine_config

    if options.model is None:
        return None
    return engine_config(options.model, options.overrides, options.config)


def _instruction(options: argparse.Namespace, engine: "Config | None") -> str:
    from shared.prompting import DEFAULT_INSTRUCTION

    if options.instruction is not None:
        return str(options.instruction)
    return DEFAULT_INSTRUCTION if engine is None else engine.data.instruction


def _model(
    options: argparse.Namespace, engine: "Config | None", decoding: "Decoding"
) -> "tuple[str, AbstractAsyncContextManager[Model], dict[str, Any]]":
    """Name and model, and the settings that must stay the same to continue a journal."""
    from perl_rl.eval.models import EndpointModel, VllmModel

    if engine is not None:
        # To continue a journal, the engine may batch otherwise, but must see images alike.
        kept = sorted(one for one in options.overrides if one.startswith("model."))
        settings: dict[str, Any] = {"weights": _weights(options.model), "set": kept}
        if options.config is not None:
            settings["run"] = engine.model.model_dump(mode="json", exclude={"path"})
        log = options.out.with_suffix(".work") / "engine.log"
        return str(options.model), VllmModel(engine, decoding, log), settings
    config = _endpoint(
        url=" ".join(options.endpoint),
        model=options.model_name,
        api_key=_key(options.api_key_env),
        timeout_s=options.timeout_s,
        retries=options.retries,
        concurrency=options.concurrency,
    )
    return options.model_name, EndpointModel(config, decoding), {}


def _judge(options: argparse.Namespace, cache: Path) -> "Judge | None":
    from services.reward.judge import Judge
    from shared.config.reward import JudgeConfig

    if options.judge is None:
        return None
    config = _endpoint(
        url=options.judge, model=options.judge_model, api_key=_key(options.judge_key_env)
    )
    return Judge(JudgeConfig(endpoint=config), cache)


def _endpoint(**fields: Any) -> "EndpointConfig":
    from pydantic import ValidationError

    from shared.config.endpoint import EndpointConfig
    from shared.problems import first_problem

    try:
        return EndpointConfig(**fields)
    except ValidationError as error:
        raise UserError(f"eval: {first_problem(error, EndpointConfig)}") from None


def _key(variable: str | None) -> str | None:
    from shared.config.endpoint import key_from_environment

    return key_from_environment(variable, "eval")


def _weights(folder: Path) -> str:
    """Changes when the weight files do; derived from sizes and times, without reading them."""
    files = sorted(folder.glob("*.safetensors"))
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


def _compare(options: argparse.Namespace) -> int:
    from perl_rl.eval.compare import compare
    from perl_rl.eval.results import read_result
    from perl_rl.eval.table import comparison_table
    from perl_rl.report.summary import write_json

    if options.out is not None:
        make_place(options.out, "--out")
    comparison = compare(read_result(options.a), read_result(options.b), options.common)
    if options.out is not None:
        write_json(options.out, comparison.model_dump(mode="json"))
    print(comparison_table(comparison))
    return 0
