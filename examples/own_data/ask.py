"""Asks a rollout node a question about pictures, as any client of the OpenAI API would.

``python ask.py URL MODEL PICTURE ...``
"""

import base64
import sys
from pathlib import Path

import openai

INSTRUCTION = "Think inside <think> </think>, then answer in \\boxed{}."


def main() -> None:
    """Print the answer to: which option shows the largest digit?"""
    url, model, *pictures = sys.argv[1:]
    question = "Which option shows the largest digit?"
    parts: list[dict[str, object]] = [{"type": "text", "text": question}]
    for letter, picture in zip("ABCD", pictures, strict=False):
        data = base64.b64encode(Path(picture).read_bytes()).decode()
        parts.append({"type": "text", "text": f"\n{letter}. "})
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    parts.append({"type": "text", "text": f"\n{INSTRUCTION}"})
    # The key is `security.token` of the run, where there is one.
    client = openai.OpenAI(base_url=url, api_key="none", timeout=60)
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": parts}], max_tokens=24, temperature=0
    )
    print(answer.choices[0].message.content)


if __name__ == "__main__":
    main()
