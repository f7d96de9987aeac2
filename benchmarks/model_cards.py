"""The cards of model_cards/: what publishing would say of runs that were really made, and a table of them.

    python benchmarks/model_cards.py --runs path/to/runs

Each finished run folder under --runs becomes model_cards/<name>/ with the files that `hfssl publish --card_only` sends:
card, figures and scores. Cards of earlier calls stay; the table in model_cards/README.md is made from all that are there.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import ModelCard

from hfssl.hub.files import hub_files
from hfssl.reporting.card import card_of
from hfssl.run_dir import RunDir

CARDS = Path(__file__).resolve().parents[1] / "model_cards"
OPENING = """# Model cards

Cards of checkpoints that were trained with the methods of this repository, as `hfssl publish` writes them from a run's
folder (`python benchmarks/model_cards.py --runs path/to/runs`). None was edited by hand. The checkpoints themselves are not
kept here: each card holds the one command that makes its run again. Every figure of a card stands in its `eval/`.

"""
CLOSING = """
Before and after: test accuracy of a linear probe on frozen features, untrained and pretrained. Of a fine-tuned model they
are the majority-class baseline and its accuracy. One seed each.
"""


class Entry(NamedTuple):
    """A line of the table; before and after: accuracies of a linear probe, or what the card has instead."""

    name: str
    kind: str
    before: str
    after: str
    time: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="folder of run folders (default: only the table)")
    parser.add_argument("--data_name", help="what to call data of these runs that is not on the Hub")
    arguments = parser.parse_args()
    for path in sorted(arguments.runs.iterdir()) if arguments.runs else []:
        run_dir = RunDir(path)
        if run_dir.config_file.is_file() and run_dir.is_finished():
            print(write(run_dir, arguments.data_name))
    (CARDS / "README.md").write_text(OPENING + table(), encoding="utf-8")


def write(run_dir: RunDir, data_name: str | None) -> Path:
    """The card of a run with what it shows, in a folder of its own."""
    card = card_of(run_dir)
    if card.is_of_local_data and data_name is not None:
        card = dataclasses.replace(card, data=data_name, name=f"{card.name}-{data_name.partition(',')[0].lower()}")
    folder = CARDS / card.name
    shutil.rmtree(folder, ignore_errors=True)
    for file in hub_files(run_dir, card, None):
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content if isinstance(file.content, bytes) else file.content.read_bytes())
    return folder


def table() -> str:
    entries = [entry_of(folder) for folder in sorted(CARDS.iterdir()) if (folder / "README.md").is_file()]
    lines = ["| card | what it is | before | after | training |", "|---|---|---|---|---|"]
    lines += [f"| [{e.name}]({e.name}/README.md) | {e.kind} | {e.before} | {e.after} | {e.time} |" for e in entries]
    return "\n".join(lines) + f"\n{CLOSING}"


def entry_of(folder: Path) -> Entry:
    summary: dict[str, Any] = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    text = ModelCard.load(folder / "README.md").text
    kind = next(line for line in text.splitlines() if line.startswith(("An ", "A "))).partition(" (")[0]
    time = next(line for line in text.splitlines() if line.startswith("| wall time")).split("|")[2].strip()
    if "scores" in summary:
        scores = summary["scores"]
        return Entry(folder.name, kind, f"{scores['most_frequent_share']:.3f}", f"{scores['accuracy']:.3f}", time)
    rows = {row["features"]: row for row in summary["rows"]}
    before, after = (rows.get(name, {}).get("linear") for name in ("untrained", "pretrained"))
    shown = ["not measured" if value is None else f"{value:.3f}" for value in (before, after)]
    return Entry(folder.name, kind, *shown, time)


if __name__ == "__main__":
    main()
