"""What `hfssl predict` can be told."""

from dataclasses import dataclass
from pathlib import Path

from hfssl.config.fields import option
from hfssl.errors import require

OUTPUT_SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    model: str | None = option(
        None, "folder, run folder or Hub id of a checkpoint with the head of a task, or of a LoRA adapter with one"
    )
    input: str | None = option(
        None, "file, folder, or table (.csv, .tsv, .jsonl, .parquet) of images, texts or recordings"
    )
    column: str | None = option(
        None,
        "column of a table that holds texts, lists of words, or paths (default: the only one; with questions: context)",
    )
    output: str = option("predictions.csv", "file to write, .csv or .jsonl")
    top_k: int | None = option(None, "classes: likeliest labels to write of each row (default: 1)")
    question: str | None = option(None, "answers: the question to ask of every text (default: those of a table)")
    question_column: str | None = option(None, "answers: column of the questions (default: question)")
    doc_stride: int | None = option(
        None, "answers: tokens that neighbouring windows share (default: as the run was trained, else 64)"
    )
    max_answer_length: int | None = option(
        None, "answers: tokens at the most (default: as the run was scored, else 30)"
    )
    unanswerable: bool | None = option(None, "answers: there may be none (default: as the run was trained, else false)")
    batch_size: int = option(32, "samples that go through the model together")
    cpu_threads: int | None = option(None, "threads (default: all cores)")

    def __post_init__(self) -> None:
        require(self.model is not None, "name the checkpoint with --model")
        require(self.input is not None, "name a file or folder with --input")
        for name in ("top_k", "batch_size", "cpu_threads", "max_answer_length"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, got {value}")
        require(
            self.doc_stride is None or self.doc_stride >= 0, f"doc_stride must be at least 0, got {self.doc_stride}"
        )
        require(self.question is None or bool(self.question.strip()), "--question is empty: ask something")
        has_effect = self.question is None or self.question_column is None
        require(has_effect, "--question_column has no effect with --question: leave one of them out")
        self._check_output()
        require(self.input_path.exists(), f"--input {self.input} does not exist")
        is_same = Path(self.output).resolve() == self.input_path.resolve()
        require(not is_same, f"--output {self.output} would replace --input: name another file")

    @property
    def input_path(self) -> Path:
        return Path(str(self.input)).expanduser()

    def _check_output(self) -> None:
        output = Path(self.output)
        require(not output.is_dir(), f"--output {output} is a folder: name a file in it, like {output}/predictions.csv")
        require(output.suffix in OUTPUT_SUFFIXES, f"--output must end in .csv or .jsonl, got {output}")
        above = next((folder for folder in output.parents if folder.exists()), None)
        require(above is None or above.is_dir(), f"--output {output} cannot be made: {above} is a file")
