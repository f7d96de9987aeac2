"""The end of an image run: pictures, a sheet of neighbours, and the results table."""

from collections.abc import Mapping
from pathlib import Path

import torch

from hfssl.data.source import Source
from hfssl.evaluation.features import BATCH, Encoder
from hfssl.evaluation.image_modality import ImageModality
from hfssl.evaluation.images import Images
from hfssl.evaluation.neighbours import nearest_rows, nearest_to
from hfssl.evaluation.results_table import EncodedRows, encoded_rows, results_table
from hfssl.evaluation.table import unscored
from hfssl.figures import curves as figures
from hfssl.figures.image_sheet import SheetCell, image_sheet, nearest_lines, shrunk
from hfssl.run_dir import Json, RunDir
from hfssl.runs.closing import Closing
from hfssl.runs.final_evaluation.pretext_accuracy import pretext_accuracy
from hfssl.training.loop import Session
from hfssl.training.monitor import good_rows

_PICTURED_ROWS, _TRIED_ROWS = 8, 100
_ASKED, _NEAREST, _LONGEST_NAME = 6, 6, 20


def final_table(session: Session, source: Source, encoders: Mapping[str, Path], closing: Closing) -> Json:
    """Figures and the results table of the exported `encoders` (name -> folder, the last one is the run's own)."""
    closing.attempt("pictures of the task", lambda: _draw_pictures(session))
    print("evaluating the export ...", flush=True)
    rows = encoded_rows(ImageModality(), encoders, source, session.accelerator.device)
    closing.attempt("figure of neighbours", lambda: draw_neighbours(session.run_dir, rows))

    def solved() -> Json:
        asked, is_held_out = rows.test or rows.train, rows.test is not None
        return pretext_accuracy(session, asked, "images", is_held_out=is_held_out, batch_size=BATCH)

    table = closing.attempt("results table", lambda: results_table(rows)) or unscored(source.name, len(rows.train))
    return table | (closing.attempt("accuracy on the task itself", solved) or {})


def _draw_pictures(session: Session) -> None:
    """Pictures of test rows where there are some, of training rows else."""
    if session.monitor is not None:
        examples, pipeline, good = session.monitor.rows.examples, session.monitor.rows.pipeline, session.monitor.good
    else:
        examples, pipeline = session.rows.examples, session.rows.pipeline
        good = good_rows(examples, torch.arange(min(_TRIED_ROWS, len(examples))))
    batch = pipeline.eval_transform([examples[row] for row in good[:_PICTURED_ROWS].tolist()])
    on_device = {name: tensor.to(session.accelerator.device) for name, tensor in batch.items()}
    for picture in session.objective.illustrate(on_device):
        figures.picture(session.run_dir, picture)


def draw_neighbours(run_dir: RunDir, rows: EncodedRows[Encoder, Images]) -> None:
    """figures/neighbours.png: the training images that the encoder finds most like a few held-out ones, or like others of
    their own where nothing is held out; with their classes, or else their row numbers."""
    train_ND, test_MD, _ = rows.features["pretrained"]
    num = min(_NEAREST, len(train_ND) - 1)
    if num < 1:
        return
    asked = rows.test or rows.train
    if test_MD is None:
        found = nearest_rows(train_ND, num, of=range(min(_ASKED, len(train_ND))))
    else:
        found = nearest_to(test_MD[:_ASKED], train_ND, num)

    def cell(images: Images, index: int, framed: bool) -> SheetCell:
        name = f"row {images.rows[index]}" if images.labels is None else rows.source.label_name(images.labels[index])
        return SheetCell(shrunk(images[index]), name[:_LONGEST_NAME], framed)

    queries = [cell(asked, index, True) for index in range(len(found.rows_MK))]
    lines = nearest_lines(queries, *found, lambda index, similarity: cell(rows.train, index, False))
    headings = ("query", "most similar training images, the nearest first")
    image_sheet(run_dir.figures / "neighbours.png", [("", cells) for _, cells in lines], headings)
