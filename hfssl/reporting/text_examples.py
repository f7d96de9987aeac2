"""What a language model writes on validation texts, from `examples` of eval/summary.json: filled blanks and continuations.

An example is {"before", "hidden", "after", "guesses": [[word, probability], ...]} or {"prompt", "continued"}.
"""

from collections.abc import Mapping
from typing import Any

BLANK = "____"


def examples_of(summary: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The examples of a run's summary; none where it is no language model, or not finished."""
    return [] if summary is None else list(summary.get("examples", []))


def example_lines(summary: Mapping[str, Any] | None) -> list[str]:
    """Each example in two lines: what the model was given, and what it wrote."""
    lines: list[str] = []
    for example in examples_of(summary):
        if "prompt" in example:
            lines += [f"given: {example['prompt']}", f"continued: {example['continued']}"]
            continue
        guesses = ", ".join(f"{word} {probability:.0%}" for word, probability in example["guesses"])
        lines.append(" ".join(part for part in ("blank:", example["before"], BLANK, example["after"]) if part))
        lines.append(f"guesses: {guesses}; true: {example['hidden']}")
    return lines
