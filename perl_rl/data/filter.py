"""Stage ``filter``: rules on the kind of question, its images, length and source; duplicates.

Images are decoded here, a few at a time in threads, so that later stages meet no broken ones.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from perl_rl.data.config import FilterSettings
from perl_rl.data.stage import Context, Entry, Result
from shared.errors import UserError
from shared.grading.grade import UngradableGold, check_gold
from shared.images import ImageTooLarge, ImageTooThin, decode_image, digest
from shared.sample import IMAGE_TAG, Sample


async def run(samples: Sequence[Sample], context: Context) -> Result:
    """Drop samples that break a rule, and all but the first of those that ask the same."""
    settings = context.config.filter

    async def work(sample: Sample) -> Entry:
        reason = broken_rule(sample, settings)
        if reason is not None:
            return {"dropped": reason}
        return await asyncio.to_thread(_look, sample, settings)

    entries = await context.each(samples, work, at_once=context.config.workers)
    return _assemble(samples, entries, settings)


def broken_rule(sample: Sample, settings: FilterSettings) -> str | None:
    """The first rule that `sample` breaks, apart from those on its images; None without one."""
    length = len(sample.question.replace(IMAGE_TAG, "").strip())
    rules = {
        "kind_not_wanted": settings.kinds is not None and sample.kind not in settings.kinds,
        "source_not_wanted": settings.sources is not None and sample.source not in settings.sources,
        "source_excluded": sample.source in settings.exclude_sources,
        "too_few_images": len(sample.images) < settings.min_images,
        "too_many_images": len(sample.images) > settings.max_images,
        "question_too_short": length < settings.min_question_chars,
        "question_too_long": length > settings.max_question_chars,
        "no_answer": not sample.answer.strip(),
    }
    for reason, broken in rules.items():
        if broken:
            return reason
    try:
        check_gold(sample.answer, sample.kind)
    except UngradableGold:
        return "answer_not_of_its_kind"
    return None


def _look(sample: Sample, settings: FilterSettings) -> Entry:
    """Decode the images. The entry holds the digest of question and images, or why it goes."""
    images = []
    for image in sample.images:
        try:
            data = Path(image).read_bytes()
            picture = decode_image(data, image, settings.max_image_pixels)
        except ImageTooLarge:
            return {"dropped": "image_too_large"}
        except ImageTooThin:
            return {"dropped": "image_too_long_and_thin"}
        except (OSError, UserError):
            return {"dropped": "image_not_decodable"}
        if max(picture.size) > settings.max_aspect_ratio * min(picture.size):
            return {"dropped": "image_too_long_and_thin"}
        images.append(digest(data))
    # Case and spaces count: questions that differ in them may ask different things.
    asked = json.dumps([sample.question, images])
    return {"asks": hashlib.sha256(asked.encode()).hexdigest()}


def _assemble(
    samples: Sequence[Sample], entries: dict[str, Entry], settings: FilterSettings
) -> Result:
    result, seen = Result(), set[str]()
    for sample in samples:
        entry = entries[sample.id]
        reason = entry.get("dropped")
        if reason is None and not settings.duplicates and entry["asks"] in seen:
            reason = "duplicate"
        if reason is None:
            seen.add(entry["asks"])
            result.kept.append(sample)
        else:
            result.dropped[reason] += 1
    return result
