"""Turns a question into the user turn of a prompt.

The rollout service, the trainer, teaching and evaluation all build their prompts here, so that all
use the same words.
"""

from typing import Any

from shared.sample import IMAGE_TAG

DEFAULT_INSTRUCTION = (
    "Reason step by step inside <think> </think>, then put the final answer in \\boxed{}."
)


def render(processor: Any, question: str, instruction: str) -> str:
    """The prompt as text, by the chat template of a transformers `processor`.

    Holds one placeholder for each image and ends where the model's turn starts.
    """
    turns = messages(question, instruction)
    return str(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def special_token_in(processor: Any, text: str) -> str | None:
    """The first special token of a `processor`'s vocabulary in a question or instruction, if any.

    The tokenizer would read it as what it stands for: an image, the end of a turn. Image tags are
    no such tokens: `render` replaces them.
    """
    text = text.replace(IMAGE_TAG, "")
    added = processor.tokenizer.added_tokens_decoder.values()
    found = [token.content for token in added if token.special and token.content in text]
    return min(found, key=text.index, default=None)


def messages(question: str, instruction: str = DEFAULT_INSTRUCTION) -> list[dict[str, Any]]:
    """Chat messages of `question`, its image tags as image parts, followed by `instruction`.

    Returns one user turn whose ``content`` lists ``{"type": "image"}`` and
    ``{"type": "text", "text": ...}`` in reading order: the shape that chat templates of
    vision-language models take. An empty `instruction` adds nothing.
    """
    content: list[dict[str, str]] = []
    for place, text in enumerate(question.split(IMAGE_TAG)):
        if place > 0:
            content.append({"type": "image"})
        if text:
            content.append({"type": "text", "text": text})
    if instruction:
        content.append({"type": "text", "text": "\n" + instruction})
    return [{"role": "user", "content": content}]
