"""figures/contrast.png: utterances with the spans that were hidden, and the similarity of the prediction to the true frame."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot

from hfssl.figures.curves import write_figure
from hfssl.figures.palette import ACCENT, INK, SOFT, TEXT, plain
from hfssl.objective import Array
from hfssl.run_dir import RunDir


class Heard(NamedTuple):
    """One utterance.

    spectrogram_FM: log-mel, `hop` seconds per row; masked_S: numbers of the masked frames, `frame` seconds each.
    true_S, false_SK: cosines of the model's answer to the true frame and to its distractors.
    """

    title: str
    spectrogram_FM: Array
    hop: float
    masked_S: Array
    frame: float
    true_S: Array
    false_SK: Array


def contrast_figure(run_dir: RunDir, utterances: Sequence[Heard]) -> None:
    """A column for each: the spectrogram with its hidden spans, and the cosines under it."""
    columns = len(utterances)
    figure, axes = pyplot.subplots(
        2, columns, figsize=(3.4 * columns, 4.6), squeeze=False, sharey="row", layout="constrained"
    )
    for column, heard in enumerate(utterances):
        above, below = axes[0][column], axes[1][column]
        seconds = len(heard.spectrogram_FM) * heard.hop
        bands = heard.spectrogram_FM.shape[1]
        above.imshow(heard.spectrogram_FM.T, origin="lower", aspect="auto", extent=(0, seconds, 0, bands), cmap="Greys")
        for frame in heard.masked_S.tolist():
            above.axvspan(frame * heard.frame, (frame + 1) * heard.frame, color=ACCENT, alpha=0.35, linewidth=0)
        above.set_title(heard.title, fontsize=9, parse_math=False)
        times = (heard.masked_S + 0.5) * heard.frame
        low, middle, high = np.nanquantile(heard.false_SK, [0.1, 0.5, 0.9], axis=1)
        below.vlines(times, low, high, color=SOFT, alpha=0.6, linewidth=2)
        below.plot(times, middle, ".", color=SOFT, markersize=3, label="distractors, middle 80 %")
        below.plot(times, heard.true_S, ".", color=INK, markersize=5, label="true frame")
        below.set(xlim=(0, seconds), ylim=(-1, 1), xlabel="seconds")
        for axis in (above, below):
            plain(axis)
        above.grid(visible=False)
    axes[0][0].set_ylabel("mel band (hidden frames shaded)", fontsize=9)
    axes[1][0].set_ylabel("cosine to the prediction", fontsize=9)
    axes[1][0].legend(frameon=False, fontsize=8, labelcolor=TEXT, loc="lower right")
    write_figure(figure, run_dir.figures / "contrast.png")
