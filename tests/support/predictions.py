"""Files of predictions, written and read, for tests."""

import csv
import json
from pathlib import Path
from typing import Any

from hfssl.commands.predict import predict
from hfssl.predicting.predict_config import PredictConfig


def predicted(
    folder: Path, model: Path | str, given: Path | str, output: str = "p.jsonl", **flags: Any
) -> list[dict[str, Any]]:
    """The rows that `model` says of `given`; CSV files give texts alone."""
    config = PredictConfig(model=str(model), input=str(given), output=str(folder / "out" / output), **flags)
    file = predict(config)
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with file.open(encoding="utf-8", newline="") as written:
        return list(csv.DictReader(written))
