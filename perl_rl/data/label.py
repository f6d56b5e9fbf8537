"""Stage ``label``: the semantic variation S, as the order rule by which a sample is permuted.

Rules label samples whose kind and text leave no doubt, and a language model labels the rest, where
an endpoint is configured. Some samples get both labels, to measure how often the two agree.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from perl_rl.data.asking import Nonsense, about, ask_until_sense, read_json
from perl_rl.data.config import LabelSettings
from perl_rl.data.label_rules import Label, label_by_rules, option_images
from perl_rl.data.report import counted
from perl_rl.data.stage import Context, Entry, Result
from shared.chat import ChatEndpoint
from shared.permutation import refusal
from shared.sample import Sample
from shared.seeds import generator

INSTRUCTION = """\
You judge questions about several images. Suppose that the same images were shown in another \
order, and that words which name an image by its place or number ("the second image", "Image 2") \
were changed so that they still name the same image. Would the right answer have to change? And \
are the options of the question themselves images? Answer with one JSON object and nothing else: \
{"should_change": true or false, "is_multichoice_images": true or false}."""


Agreement = dict[str, int | float | None]


class Verdict(BaseModel):
    """The answer that the model must give."""

    model_config = ConfigDict(extra="forbid", strict=True)

    should_change: bool
    is_multichoice_images: bool


async def run(samples: Sequence[Sample], context: Context) -> Result:
    """Label the samples that have several images; the others pass unchanged."""
    settings, seed = context.config.label, context.config.seed
    wanted = [s for s in samples if len(s.images) > 1 and (settings.relabel or s.order is None)]
    by_rule = {
        sample.id: label for sample in wanted if (label := label_by_rules(sample)) is not None
    }
    config = context.config.endpoint_of("label")
    alone = settings.rules_only or config is None
    asked = [] if alone else _to_ask(wanted, by_rule, settings, seed)
    entries: dict[str, Entry] = {}
    if asked and config is not None:
        async with context.endpoint(config) as endpoint:

            async def work(sample: Sample) -> Entry:
                return await _ask(endpoint, sample, settings, seed)

            entries = await context.each(asked, work, config.concurrency)
    result = Result()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    to_label = {sample.id for sample in wanted}
    for sample in samples:
        entry = entries.get(sample.id)
        if sample.id in to_label:
            label, why = decide(sample, by_rule.get(sample.id), entry)
            if label is None and (settings.failed == "drop" or why == _refused(entry)):
                result.dropped[why] += 1
                continue
            counts["labelled by" if label else "unlabelled"][why] += 1
            sample = _with(sample, label)
        result.kept.append(sample)
    result.details = _details(result.kept, counts, entries)
    result.details["labels come from"] = "rules alone" if alone else "rules and the endpoint"
    result.details["agreement"] = agreement(by_rule, entries)
    return result


def _to_ask(
    wanted: Sequence[Sample], by_rule: Mapping[str, Label], settings: LabelSettings, seed: int
) -> list[Sample]:
    """Samples that no rule labels, and a few others for the comparison; in the samples' order."""
    labelled = sorted(by_rule)
    count = min(settings.cross_check, len(labelled))
    compared = set(generator(seed, "cross check").sample(labelled, count))
    return [sample for sample in wanted if sample.id not in by_rule or sample.id in compared]


async def _ask(endpoint: ChatEndpoint, sample: Sample, settings: LabelSettings, seed: int) -> Entry:
    verdict, nonsense = await ask_until_sense(
        endpoint,
        await about(sample, INSTRUCTION),
        checked,
        seed=(seed, "label", sample.id),
        tries=settings.tries,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    return {"verdict": None if verdict is None else verdict.model_dump(), "nonsense": nonsense}


def checked(text: str) -> Verdict:
    """Parse a verdict and refuse one that contradicts itself.

    Raises:
        Nonsense: with the reason.
    """
    verdict = read_json(text, Verdict)
    if verdict.is_multichoice_images and not verdict.should_change:
        # When the right image moves, its letter changes.
        raise Nonsense("contradicts_itself")
    return verdict


def label_from(verdict: Verdict, sample: Sample) -> Label | str:
    """The label that follows from a verdict, or the reason why none does."""
    if not verdict.should_change:
        return Label("invariant", sample.fixed)
    if not verdict.is_multichoice_images:
        return "order_matters_by_no_known_rule"
    if sample.kind != "letter":
        return "options_are_images_but_the_answer_is_no_letter"
    if option_images(sample) is None:
        return "options_are_images_but_have_no_letters"
    return label_by_rules(sample) or "answer_is_no_option"


def decide(sample: Sample, by_rule: Label | None, entry: Entry | None) -> tuple[Label | None, str]:
    """The label and who gave it, or None and the reason. A rule overrides the endpoint."""
    if by_rule is not None:
        return by_rule, "rule"
    if entry is None:
        return None, "no_rule_for_it"
    if "dropped" in entry:
        return None, _refused(entry)
    if entry["verdict"] is None:
        return None, f"no_verdict: {entry['nonsense'][-1]}"
    label = label_from(Verdict.model_validate(entry["verdict"]), sample)
    return (None, label) if isinstance(label, str) else (label, "endpoint")


def agreement(by_rule: Mapping[str, Label], entries: Mapping[str, Entry]) -> Agreement:
    """How often rules and endpoint agree on ``S`` and on the options, where both gave a label."""
    both = [
        (by_rule[name], Verdict.model_validate(entry["verdict"]))
        for name, entry in entries.items()
        if name in by_rule and entry.get("verdict") is not None
    ]
    same_change = [verdict.should_change for _, verdict in both]
    same_options = [
        verdict.is_multichoice_images == (label.order == "letter") for label, verdict in both
    ]
    shares = {
        # Every label by rules says that the answer changes with the order.
        "on should_change": sum(same_change) / len(both) if both else None,
        "on is_multichoice_images": sum(same_options) / len(both) if both else None,
    }
    return {"judged by both": len(both), **shares}


def _refused(entry: Entry | None) -> str:
    return str((entry or {}).get("dropped", ""))


def _with(sample: Sample, label: Label | None) -> Sample:
    changes = {"order": None} if label is None else {"order": label.order, "fixed": label.fixed}
    return sample.model_copy(update=changes)


def _details(
    kept: Sequence[Sample], counts: Mapping[str, Counter[str]], entries: Mapping[str, Entry]
) -> dict[str, Any]:
    several = [sample for sample in kept if len(sample.images) > 1]
    orders = Counter[str](sample.order or "none" for sample in several)
    refusals = Counter(refusal(sample) or "can be permuted" for sample in several)
    nonsense = Counter(reason for entry in entries.values() for reason in entry.get("nonsense", ()))
    return {
        "samples with one image or none": len(kept) - len(several),
        "labelled by": counted(counts["labelled by"]),
        "unlabelled": counted(counts["unlabelled"]),
        "order rules": counted(orders),
        "permutation": counted(refusals),
        "unusable answers": counted(nonsense),
    }
