"""The end of an audio run: a picture of the task, how well it is solved, and the results table."""

from collections.abc import Mapping
from pathlib import Path

import torch

from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.source import Source
from hfssl.evaluation.audio_modality import AudioModality
from hfssl.evaluation.clips import HOP_SECONDS, Clips, log_mel
from hfssl.evaluation.results_table import encoded_rows, results_table
from hfssl.evaluation.table import unscored
from hfssl.figures.contrast import Heard, contrast_figure
from hfssl.run_dir import Json
from hfssl.runs.closing import Closing
from hfssl.runs.final_evaluation.pretext_accuracy import pretext_accuracy
from hfssl.training.loop import Session

_PICTURED, _ASKED, _AT_ONCE = 3, 200, 8


def final_table(session: Session, source: Source, encoders: Mapping[str, Path], closing: Closing) -> Json:
    """Figures and the results table of the exported `encoders` (name -> folder, the last one is the run's own)."""
    print("evaluating the export ...", flush=True)
    assert isinstance(session.run.data, AudioDataConfig)
    clips = Clips(source.test or source, session.run.data.sampling_rate, _ASKED)
    closing.attempt("figure of the contrast", lambda: _draw_contrast(session, clips))
    device = session.accelerator.device
    table = closing.attempt(
        "results table",
        lambda: results_table(encoded_rows(AudioModality(), encoders, source, device)),
    ) or unscored(source.name, len(source))

    def asked() -> Json:
        is_held_out = source.test is not None
        return pretext_accuracy(session, clips, "recordings", is_held_out=is_held_out, batch_size=_AT_ONCE)

    solved = closing.attempt("accuracy on the task itself", asked) or {}
    remarks = session.objective.remarks(session.run_dir.training_rows()[-1])
    return table | solved | {"notes": table.get("notes", []) + remarks}


def _draw_contrast(session: Session, clips: Clips) -> None:
    """figures/contrast.png of a few utterances that have masked frames, where the task hides some."""
    heard = []
    for index in range(min(_PICTURED, len(clips))):
        audio = clips[index]
        batch = session.rows.pipeline.eval_transform([audio], index)
        on_device = {name: tensor.to(session.accelerator.device) for name, tensor in batch.items()}
        found = session.objective.told_apart(on_device)
        if found is None:
            return
        used_S = found.is_masked_NS[0].cpu()
        if not bool(used_S.any()):
            continue
        false_SK = found.false_NSK[0].cpu()[used_S]
        heard.append(
            Heard(
                f"row {clips.rows[index]}",
                spectrogram_FM=log_mel(audio, clips.sampling_rate).numpy(),
                hop=HOP_SECONDS,
                masked_S=found.masked_NS[0].cpu()[used_S].numpy(),
                frame=found.samples_per_frame / clips.sampling_rate,
                true_S=found.true_NS[0].cpu()[used_S].numpy(),
                false_SK=false_SK.masked_fill(false_SK.isinf(), torch.nan).numpy(),
            )
        )
    if heard:
        contrast_figure(session.run_dir, heard)
