"""Stage ``rephrase``: a language model turns open questions into questions with lettered options.

The model writes the question and the options. Here they are checked: the gold answer must be one of
the options. The seed decides its place among them.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from perl_rl.data.asking import Nonsense, about, ask_until_sense, mark, read_json
from perl_rl.data.config import RephraseSettings
from perl_rl.data.report import counted
from perl_rl.data.stage import Context, Entry, Result
from shared.chat import ChatEndpoint
from shared.grading.kinds.text import read_text
from shared.sample import IMAGE_TAG, Sample
from shared.seeds import generator

MIN_OPTIONS, MAX_OPTIONS = 3, 5

INSTRUCTION = f"""\
You turn open questions about images into multiple-choice questions. Answer with one JSON object \
and nothing else: {{"question": "...", "options": ["...", "..."]}}. The question means the same as \
before and names each image once, in the same order, by its mark: [image 1], [image 2], and so on. \
Do not put the options into the question. Give {MIN_OPTIONS} to {MAX_OPTIONS} short options that \
differ, without letters before them. One of them is the right answer, word for word; the others \
are wrong, but someone who has not seen the images could believe them."""

_MARK = re.compile(r"\[image \d+\]")


class Rephrased(BaseModel):
    """The answer that the model must give."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str
    options: list[str]


async def run(samples: Sequence[Sample], context: Context) -> Result:
    """Put the open questions to the endpoint; the others pass unchanged."""
    settings = context.config.rephrase
    is_open = [sample for sample in samples if sample.kind in settings.kinds]
    entries: dict[str, Entry] = {}
    if is_open:
        config = context.config.endpoint_of("rephrase")
        async with context.endpoint(config) as endpoint:

            async def work(sample: Sample) -> Entry:
                return await _ask(endpoint, sample, settings, context.config.seed)

            at_once = config.concurrency if config else 1
            entries = await context.each(is_open, work, at_once)
    return _assemble(samples, entries, context.config.seed, settings)


async def _ask(
    endpoint: ChatEndpoint, sample: Sample, settings: RephraseSettings, seed: int
) -> Entry:
    answer, nonsense = await ask_until_sense(
        endpoint,
        await about(sample, INSTRUCTION),
        lambda text: checked(text, sample),
        seed=(seed, "rephrase", sample.id),
        tries=settings.tries,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    return {"answer": None if answer is None else answer.model_dump(), "nonsense": nonsense}


def checked(text: str, sample: Sample) -> Rephrased:
    """Parse an answer, and refuse it unless it names every image and has the gold answer.

    Raises:
        Nonsense: with the reason.
    """
    answer = read_json(text, Rephrased)
    marks = [mark(place) for place in range(len(sample.images))]
    if _MARK.findall(answer.question) != marks or IMAGE_TAG in answer.question:
        raise Nonsense("images_not_named_as_before")
    if not _MARK.sub("", answer.question).strip():
        raise Nonsense("empty_question")
    if not MIN_OPTIONS <= len(answer.options) <= MAX_OPTIONS:
        raise Nonsense("wrong_number_of_options")
    read = [read_text(option) for option in answer.options]
    if any(
        not option or "\n" in option or IMAGE_TAG in option for option in answer.options
    ) or not all(read):
        raise Nonsense("unusable_option")
    if len(set(read)) < len(read):
        raise Nonsense("options_repeat")
    if read.count(read_text(sample.answer)) != 1:
        raise Nonsense("gold_answer_not_among_options")
    return answer


def as_letter_question(sample: Sample, answer: Rephrased, seed: int) -> Sample:
    """The sample with `answer`'s question and options; the seed places the gold option."""
    gold = read_text(sample.answer)
    options = [option for option in answer.options if read_text(option) != gold]
    place = generator(seed, "gold option", sample.id).randrange(len(options) + 1)
    options.insert(place, " ".join(sample.answer.split()))
    question = _MARK.sub(IMAGE_TAG, answer.question.rstrip())
    lines = [
        f"{letter}. {option}"
        for letter, option in zip(string.ascii_uppercase, options, strict=False)
    ]
    changes = {
        "question": "\n".join([question, *lines]),
        "answer": string.ascii_uppercase[place],
        "kind": "letter",
        "tolerance": None,
        # Options in words do not move with the images; any other rule belongs to the old answer.
        "order": sample.order if sample.order == "invariant" else None,
        "pass_rate": None,
    }
    return Sample.model_validate(sample.model_dump() | changes)


def _assemble(
    samples: Sequence[Sample], entries: dict[str, Entry], seed: int, settings: RephraseSettings
) -> Result:
    result, outcomes, nonsense = Result(), Counter[str](), Counter[str]()
    for sample in samples:
        entry = entries.get(sample.id)
        if entry is None:
            outcomes["objective already"] += 1
            result.kept.append(sample)
        elif "dropped" in entry:
            result.dropped[entry["dropped"]] += 1
        else:
            nonsense.update(entry["nonsense"])
            if entry["answer"] is not None:
                outcomes["rephrased"] += 1
                answer = Rephrased.model_validate(entry["answer"])
                result.kept.append(as_letter_question(sample, answer, seed))
            elif settings.failed == "keep":
                outcomes[f"kept as it was: {entry['nonsense'][-1]}"] += 1
                result.kept.append(sample)
            else:
                result.dropped[f"not_rephrased: {entry['nonsense'][-1]}"] += 1
    result.details = {"samples": counted(outcomes), "unusable answers": counted(nonsense)}
    return result
