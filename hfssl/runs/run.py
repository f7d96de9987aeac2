"""A run as Python sees it: its folder, its numbers, its figures, and the model that came out of it."""

import base64
import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfssl.checkpoints.exports import describe_export
from hfssl.config.invocation import command
from hfssl.errors import ConfigError, require
from hfssl.run_dir import Json, RunDir

if TYPE_CHECKING:
    import pandas

_WITH_POOLER = ("vit", "deit", "beit")


class Run:
    """A run folder, finished or not: `Run("runs/mae-000")`."""

    def __init__(self, path: str | Path) -> None:
        """Raises ConfigError where there is no run."""
        self._dir = RunDir(Path(path))
        require(self._dir.is_run(), f"{path} is not a run folder: it has no config.yaml")

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._dir.path

    @property
    def export(self) -> Path:
        """The folder that `from_pretrained` takes. Raises ConfigError where there is none yet."""
        made = command("export", "--run", str(self.path))
        require(self._dir.export.is_dir(), f"{self.path} has no export yet: {made} makes one of its newest checkpoint")
        return self._dir.export

    @cached_property
    def config(self) -> Json:
        """The settings, by section."""
        return self._dir.read_config()

    @property
    def metrics(self) -> list[Json]:
        """The rows of metrics.jsonl, one per logged step."""
        return self._dir.read_metrics()

    def to_pandas(self) -> "pandas.DataFrame":
        """`metrics` as a data frame, a row per logged step."""
        import pandas

        return pandas.DataFrame(self.metrics)

    @property
    def summary(self) -> Json:
        """What stands in eval/summary.json: scores, rows, steps; empty while the run is not finished."""
        return self._dir.read_summary() or {}

    @property
    def figures(self) -> dict[str, Path]:
        """Name -> PNG file."""
        return {file.stem: file for file in sorted(self._dir.figures.glob("*.png"))}

    @property
    def report(self) -> Path:
        """The HTML page of the run."""
        return self._dir.report_file

    def model(self) -> Any:
        """The exported model in its stock class of transformers, in eval mode; of an adapter, with its base."""
        import transformers

        exported = describe_export(self.export)
        if exported is None:
            raise ConfigError(f"{self.export} holds no model")
        stock_class = getattr(transformers, exported.architecture)
        if exported.base is not None:
            from peft import PeftModel

            return PeftModel.from_pretrained(stock_class.from_pretrained(exported.base), self.export).eval()
        has_pooler = exported.model_type in _WITH_POOLER and exported.task == "image-feature-extraction"
        options = {"add_pooling_layer": False} if has_pooler else {}
        return stock_class.from_pretrained(self.export, **options).eval()

    def processor(self) -> Any:
        """The image processor, tokenizer or feature extractor that belongs to the model."""
        from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, AutoTokenizer

        folder = self.export
        if (folder / "tokenizer_config.json").is_file():
            has_extractor = any(
                (folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")
            )
            return (AutoProcessor if has_extractor else AutoTokenizer).from_pretrained(folder)
        hears = "sampling_rate" in (folder / "preprocessor_config.json").read_text(encoding="utf-8")
        return (AutoFeatureExtractor if hears else AutoImageProcessor).from_pretrained(folder)

    def __repr__(self) -> str:
        state = "finished" if self._dir.is_finished() else "not finished"
        return f"Run({str(self.path)!r}): {self.config['recipe']}, {state}"

    def _repr_html_(self) -> str:
        """Scores and the first figure, for notebooks."""
        head = f"<p><b>{html.escape(str(self.path))}</b>: {html.escape(self.config['recipe'])}</p>"
        return head + self._scores_html() + self._figure_html()

    def _scores_html(self) -> str:
        rows = _score_rows(self.summary)
        if not rows:
            return "<p>no scores</p>" if self._dir.is_finished() else "<p>not finished</p>"
        cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"

    def _figure_html(self) -> str:
        learned = [file for name, file in self.figures.items() if name not in ("loss", "watch", "scores")]
        chosen = next(iter([*learned, *self.figures.values()]), None)
        if chosen is None:
            return ""
        content = base64.b64encode(chosen.read_bytes()).decode()
        return f'<img alt="{html.escape(chosen.stem)}" style="max-width: 100%" src="data:image/png;base64,{content}">'


def _score_rows(summary: Json) -> list[list[str]]:
    """A header and a line for each kind of features, or a line for each score of a task."""
    names = {"knn": "kNN", "linear": "linear", "few_labels": "few labels"}
    scored = [row for row in summary.get("rows", []) if any(name in row for name in names)]
    if scored:
        body = [[row["features"], *[_number(row.get(name)) for name in names]] for row in scored]
        return [["features", *names.values()], *body]
    scores = {name: value for name, value in summary.get("scores", {}).items() if isinstance(value, float)}
    return [[name.replace("_", " "), _number(value)] for name, value in scores.items()]


def _number(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("mean")
    return f"{value:.3f}" if isinstance(value, (int, float)) else ""
