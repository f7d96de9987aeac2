"""Laws of the tasks on recordings: stock losses, keyed masks and windows, padding, adapters, frozen bodies, resumed runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForAudioClassification, AutoModelForCTC, BertConfig, BertModel, pipeline

from hfssl.catalog import task_config_of
from hfssl.checkpoints.exports import write_export
from hfssl.commands.finetune import finetune
from hfssl.config.parse import parse
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.transcripts import frames_needed, normalised
from hfssl.errors import ConfigError
from hfssl.evaluation.scoring.transcripts import scores
from hfssl.models.speech_model import body_of, frame_counts
from hfssl.objective import Batch
from hfssl.run_dir import RunDir
from hfssl.training.checkpoint import read_state, save
from hfssl.training.loop import Session
from hfssl.training.start import Start
from hfssl.training.step import train_step
from tests.support.laboratory import differing, few_recordings, ready, record_gradients, state_of, steps_of
from tests.support.speech_models import (
    KINDS,
    few_transcribed,
    open_task,
    spelt_tones,
    task_run,
    use_few_recordings,
    write_encoder,
)

CLASSES, SPEECH = "audio_classification", "speech_recognition"
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {kind: write_encoder(kind, root / kind) for kind in KINDS}


def first_batch(opened: Session) -> Batch:
    return steps_of(opened, 1)[0][0]


def rows_of(opened: Session, count: int = 5) -> list[Any]:
    data_pipeline: Any = opened.rows.pipeline
    examples = data_pipeline.whole_examples(few_transcribed() if opened.run.recipe == SPEECH else few_recordings())
    return [examples[row] for row in range(count)]


def moved(opened: Session, num_steps: int = 3, rate: float = 3e-2) -> Session:
    """After a few steps at a high learning rate."""
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, num_steps)):
        for group in parts.optimizer.param_groups:
            group["lr"] = rate
        train_step(parts, batches, step=step, progress=step / num_steps, stop=False)
    opened.objective.eval()
    return opened


def answered(opened: Session, rows: list[Any]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = opened.objective.logits(opened.rows.pipeline.eval_transform(rows))  # type: ignore[operator]
    return logits


def heard(opened: Session, row: Any) -> dict[str, Any]:
    """A row as a stranger brings it."""
    data_pipeline: Any = opened.rows.pipeline
    return {
        "raw": row[0].piece(0, data_pipeline.data.longest_window).numpy(),
        "sampling_rate": data_pipeline.data.sampling_rate,
    }


@every_kind
def test_loss_and_gradients_are_the_stock_heads_on_the_same_masks(
    kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = open_task(CLASSES, bases[kind], tmp_path, {"freeze_convolutions": False, "mask_time_probability": 0.4})
    task: Any = opened.objective.train()
    batch = first_batch(opened)
    assert bool(batch["mask_time_indices"].any())
    assert ("attention_mask" in batch) == (kind != "group")
    output = task(batch, 0.0)
    output.loss_sum.backward()
    ours = {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}
    task.zero_grad()
    names = ("input_values", "attention_mask", "mask_time_indices", "labels")
    stock = task.model(**{name: batch[name] for name in names if name in batch}).loss * 8
    stock.backward()
    assert int(output.num_targets) == 8
    assert float(output.loss_sum.detach()) == pytest.approx(float(stock.detach()), rel=1e-6)
    trainable = {name for name, p in task.model.named_parameters() if p.requires_grad}
    assert ours.keys() == trainable
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


@every_kind
def test_the_pipeline_on_the_export_answers_as_we_do_whoever_stands_beside(
    kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = moved(open_task(CLASSES, bases[kind], tmp_path))
    rows = rows_of(opened)
    assert len({len(row[0]) for row in rows}) > 1
    ours = answered(opened, rows).softmax(dim=1)
    write_export(opened.objective.export(), tmp_path / "export")
    stranger = pipeline("audio-classification", model=str(tmp_path / "export"), device="cpu")
    for row, ours_C in zip(rows, ours, strict=True):
        said = {one["label"]: one["score"] for one in stranger(heard(opened, row), top_k=None)}
        assert list(said) != []
        for number, name in enumerate(("hummed", "hissed")):
            assert said[name] == pytest.approx(float(ours_C[number]), abs=1e-5)
    alone = torch.cat([answered(opened, [row]) for row in rows])
    torch.testing.assert_close(alone.softmax(dim=1), ours, rtol=0, atol=1e-5)


def test_masks_are_keyed_lie_inside_a_recording_and_hide_the_share_of_the_checkpoint(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = open_task(CLASSES, bases["layer"], tmp_path, max_steps=40)
    method = opened.run.method
    assert (method.mask_time_probability, method.mask_time_length) == (0.3, 3)
    batches = [step[0] for step in steps_of(opened, 40)]
    again = [step[0] for step in steps_of(opened, 40)]
    hidden = own = 0
    for batch, other in zip(batches, again, strict=True):
        assert torch.equal(batch["mask_time_indices"], other["mask_time_indices"])
        frames_B = frame_counts(method, batch["lengths"])
        own_BF = torch.arange(batch["mask_time_indices"].shape[1]) < frames_B[:, None]
        assert not bool((batch["mask_time_indices"] & ~own_BF).any())
        hidden += int(batch["mask_time_indices"].sum())
        own += int(own_BF.sum())
    assert 0.2 < hidden / own < 0.3  # spans overlap
    assert "mask_time_indices" not in opened.rows.pipeline.eval_transform(rows_of(opened))
    faint = open_task(CLASSES, bases["layer"], tmp_path, {"mask_time_probability": 0.02}, max_steps=10)
    hidden = sum(int(step[0]["mask_time_indices"].any(dim=1).sum()) for step in steps_of(faint, 10))
    assert 5 < hidden < 40  # of 80: no recording has to have a span
    nothing = open_task(CLASSES, bases["layer"], tmp_path, {"mask_time_probability": 0.0})
    assert "mask_time_indices" not in first_batch(nothing)
    assert not hasattr(body_of(nothing.objective.model), "masked_spec_embed")


def test_a_window_of_a_long_recording_moves_with_the_epoch_and_is_judged_by_its_first(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_task(CLASSES, bases["layer"], tmp_path)
    assert "are longer than 0.8 s" in capsys.readouterr().out
    data_pipeline: Any = opened.rows.pipeline
    rows = data_pipeline.whole_examples(few_recordings())
    row = next(rows[number] for number in range(90) if len(rows[number][0]) > data_pipeline.data.longest_window + 400)
    cut = [data_pipeline.transform(row, torch.tensor(key))[0] for key in (1, 1, 2)]
    assert [len(one) for one in cut] == [12_800] * 3
    assert torch.equal(cut[0], cut[1])
    assert not torch.equal(cut[0], cut[2])
    first = data_pipeline.normalised(row[0].piece(0, 12_800))
    torch.testing.assert_close(data_pipeline.eval_transform([row])["input_values"][0], first, rtol=1e-4, atol=1e-5)


def test_convolutions_stay_and_all_else_moves(bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_task(CLASSES, bases["layer"], tmp_path)
    body = body_of(opened.objective.model)
    before = {name: tensor.clone() for name, tensor in opened.objective.model.state_dict().items()}
    moved(opened)
    changed = {
        name for name, tensor in opened.objective.model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    frozen = {name for name, p in opened.objective.model.named_parameters() if not p.requires_grad}
    assert changed == before.keys() - frozen
    unused = {"wav2vec2.encoder.layer_norm.weight", "wav2vec2.encoder.layer_norm.bias"}  # no hidden state is behind it
    assert frozen == {f"wav2vec2.feature_extractor.{name}" for name in body.feature_extractor.state_dict()} | unused
    opened.objective.train()
    assert body.training
    assert not body.feature_extractor.training


@every_kind
@pytest.mark.parametrize("layer_sum", [True, False])
def test_the_stock_head_gives_the_same_logits_and_gradients_for_mean_hidden_states(
    kind: str, layer_sum: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = open_task(CLASSES, bases[kind], tmp_path, {"adaptation": "frozen", "layer_sum": layer_sum})
    task: Any = opened.objective
    data_pipeline: Any = opened.rows.pipeline
    with torch.no_grad():
        for parameter in task.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    stored, whole = data_pipeline.prepare(few_recordings()), data_pipeline.whole.prepare(few_recordings())
    assert stored[0][0].shape == ((3 if layer_sum else 1), 1, 16)
    rows = [whole[row] for row in range(5)]
    found = []
    for batch in (
        data_pipeline.eval_transform([stored[row] for row in range(5)]),
        data_pipeline.whole.eval_transform(rows),
    ):
        task.zero_grad()
        output = task.train()(batch, 0.0)
        output.loss_sum.backward()
        found.append((task.logits(batch), {name: p.grad for name, p in task.named_parameters() if p.requires_grad}))
    (ours, our_gradients), (stock, gradients) = found
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-5)
    assert len(gradients) == 4 + layer_sum
    for name, gradient in gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-3, atol=1e-5)


def test_a_frozen_body_is_never_asked_again_and_keeps_its_bits(bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_task(CLASSES, bases["group"], tmp_path, {"adaptation": "frozen"})
    body = body_of(opened.objective.model)
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    body.forward = None
    head = opened.objective.model.classifier.weight.clone()
    moved(opened)
    assert differing(before, body.state_dict()) == []
    assert not torch.equal(head, opened.objective.model.classifier.weight)
    assert not body.training


def test_a_head_that_is_not_linear_is_refused_for_frozen_features(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfssl.tasks.audio_classification import objective as audio_classification

    monkeypatch.setattr(audio_classification, "hidden_means", lambda *_: torch.zeros(2, 3, 1, 16))
    with pytest.raises(ConfigError, match=r"not linear up to its mean.*--adaptation full or lora"):
        open_task(CLASSES, bases["layer"], tmp_path, {"adaptation": "frozen"})


@pytest.mark.versions
def test_a_stranger_puts_the_adapter_into_the_stock_base_and_gets_our_logits(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = moved(open_task(CLASSES, bases["layer"], tmp_path, {"adaptation": "lora", "lora_rank": 4}))
    rows = rows_of(opened)
    ours = answered(opened, rows)
    write_export(opened.objective.export(), tmp_path / "export")
    base = AutoModelForAudioClassification.from_pretrained(bases["layer"], num_labels=2)
    batch = opened.rows.pipeline.eval_transform(rows)
    inputs = {name: batch[name] for name in ("input_values", "attention_mask")}
    with torch.no_grad():
        plain = base.eval()(**inputs).logits
        found = PeftModel.from_pretrained(base, tmp_path / "export").eval()(**inputs).logits
    torch.testing.assert_close(found, ours, rtol=1e-5, atol=1e-5)
    assert float((plain - ours).abs().max()) > 1e-2


@pytest.mark.versions
@pytest.mark.parametrize("layer_sum", [True, False])
def test_a_merged_adapter_is_a_stock_model_of_the_same_logits(
    layer_sum: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    method = {"adaptation": "lora", "merge": True, "layer_sum": layer_sum, "classifier_proj_size": 9}
    opened = moved(open_task(CLASSES, bases["group"], tmp_path, method))
    rows = rows_of(opened)
    write_export(opened.objective.export(), tmp_path / "export")
    stock = AutoModelForAudioClassification.from_pretrained(tmp_path / "export").eval()
    assert stock.projector.out_features == 9
    for row, ours_C in zip(rows, answered(opened, rows), strict=True):
        alone = opened.rows.pipeline.eval_transform([row])
        with torch.no_grad():
            torch.testing.assert_close(stock(alone["input_values"]).logits[0], ours_C, rtol=1e-5, atol=1e-5)
    if layer_sum:
        assert len(set(stock.layer_weights.tolist())) > 1


@pytest.mark.parametrize("adaptation", ["full", "frozen", "lora"])
@pytest.mark.parametrize("task", [CLASSES, SPEECH])
def test_a_rebuilt_session_goes_on_bitwise(task: str, adaptation: str, bases: dict[str, Path], tmp_path: Path) -> None:
    def steps(first: int, last: int, started: Start | None, save_at: int | None) -> dict[str, Tensor]:
        loop = {"per_device_batch_size": 4, "max_steps": 6}
        opened = open_task(task, bases["layer"], tmp_path, {"adaptation": adaptation}, started=started, **loop)
        parts = ready(opened)
        for step, batches in enumerate(steps_of(opened, last)):
            if step >= first:
                train_step(parts, batches, step=step, progress=step / 6, stop=False)
        if save_at is not None:
            opened.state.step = save_at
            save(parts.accelerator, RunDir(tmp_path), opened.state, keep=2)
        return state_of(parts)

    unbroken = steps(0, 4, None, None)
    steps(0, 2, None, save_at=2)
    resumed = steps(2, 4, Start(RunDir(tmp_path), read_state(RunDir(tmp_path), 2), []), None)
    assert differing(unbroken, resumed) == []


def test_accumulation_is_one_big_batch_where_padding_is_not_heard(bases: dict[str, Path], tmp_path: Path) -> None:
    for kind, equal in (("layer", True), ("group", False)):
        found = []
        for size in (8, 2):
            opened = open_task(CLASSES, bases[kind], tmp_path, per_device_batch_size=size)
            assert opened.objective.batch_coupled != equal
            parts = ready(opened, torch.float64)
            gradients = record_gradients(parts.objective)
            original = parts.augment
            parts.augment = lambda batch, progress, original=original: {
                name: value.double() if value.is_floating_point() else value
                for name, value in original(batch, progress).items()
            }
            train_step(parts, steps_of(opened, 1)[0], step=0, progress=0.0, stop=False)
            found.append(torch.cat([gradients[name].flatten() for name in sorted(gradients)]))
        error = float((found[0] - found[1]).norm() / found[0].norm())
        assert (error < 1e-8) == equal


def test_the_head_learns_fastest_and_the_frames_projection_slowest(bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_task(CLASSES, bases["layer"], tmp_path, {"layer_decay": 0.5})
    names = {id(p): name for name, p in opened.objective.model.named_parameters()}
    scales = {}
    for group in opened.objective.param_groups(0.1):
        scales |= {names[id(p)]: group["lr_scale"] for p in group["params"]}
    for name in ("layer_weights", "projector.weight", "classifier.bias"):
        assert scales[name] == 1.0
    assert scales["wav2vec2.encoder.layers.1.attention.k_proj.weight"] == 0.5
    assert scales["wav2vec2.encoder.layers.0.attention.k_proj.weight"] == 0.25
    assert scales["wav2vec2.feature_projection.projection.weight"] == 0.125


def test_a_whole_run_is_scored_by_its_export(bases: dict[str, Path], tmp_path: Path) -> None:
    use_few_recordings()
    from hfssl.tasks.audio_classification.objective import AudioClassification

    for adaptation in ("full", "lora"):
        run = task_run(CLASSES, bases["layer"], tmp_path / adaptation, {"adaptation": adaptation}, max_steps=20)
        summary: Any = finetune(AudioClassification, run).read_summary()
        assert summary["output_type"] == "classes"
        summary = summary["scores"]
        assert (summary["rows"], summary["unreadable_rows"]) == (18, 0)
        assert np.sum(summary["confusion"]) == 18
        assert (tmp_path / adaptation / "figures" / "confusion.png").is_file()
        for mistake in summary["mistakes"]:
            assert mistake["text"].startswith("a recording of 0.")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"adaptation": "lora", "layer_sum": True}, "layer_sum true is no part of an adapter.*add --merge"),
        ({"adaptation": "lora", "classifier_proj_size": 8}, "classifier_proj_size is no part of an adapter"),
        (
            {"adaptation": "frozen", "mask_time_probability": 0.1},
            "--mask_time_probability has no effect with --adaptation",
        ),
        (
            {"adaptation": "frozen", "freeze_convolutions": False},
            "--freeze_convolutions has no effect with --adaptation",
        ),
        ({"mask_time_probability": 1.5}, r"must be in \[0, 1\), got 1.5"),
        ({"mask_time_length": 0}, "mask_time_length must be above 0, got 0"),
        ({"conv_kernel": (3, 3)}, "--conv_kernel has no effect with --model or --model_config"),
        ({"classifier_proj_size": -1}, "classifier_proj_size must be above 0"),
    ],
)
def test_settings_that_can_not_work_or_do_nothing_are_refused(
    method: dict[str, Any], message: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        task_run(CLASSES, bases["layer"], tmp_path, method)


def test_a_checkpoint_that_hears_nothing_is_refused(tmp_path: Path) -> None:
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="a bert is no encoder of waveforms like wav2vec"):
        open_task(CLASSES, tmp_path / "bert", tmp_path / "run")


def test_a_checkpoint_without_its_encoder_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_encoder("layer", tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks weights of the encoder .encoder.layers.1.attention.k_proj.weight"):
        open_task(CLASSES, folder, tmp_path / "run")


@every_kind
def test_the_ctc_loss_and_its_gradients_are_the_stock_heads(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_task(SPEECH, bases[kind], tmp_path, {"freeze_convolutions": False, "mask_time_probability": 0.4})
    task: Any = opened.objective.train()
    batch = first_batch(opened)
    if kind == "group":  # the stock loss takes frames of padding for speech where there is no mask
        shortest = int(batch["lengths"].min())
        frames = frame_counts(opened.run.method, shortest)
        batch |= {"input_values": batch["input_values"][:, :shortest], "lengths": batch["lengths"].clamp(max=shortest)}
        batch["mask_time_indices"] = batch["mask_time_indices"][:, :frames]
    output = task(batch, 0.0)
    output.loss_sum.backward()
    ours = {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}
    task.zero_grad()
    names = ("input_values", "attention_mask", "mask_time_indices", "labels")
    stock = task.model(**{name: batch[name] for name in names if name in batch}).loss
    stock.backward()
    assert int(output.num_targets) == int((batch["labels"] >= 0).sum()) > 24
    assert float(output.loss_sum.detach()) == pytest.approx(float(stock.detach()), rel=1e-5)
    assert ours.keys() == {name for name, p in task.model.named_parameters() if p.requires_grad}
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-4)


@every_kind
def test_the_recognition_pipeline_on_the_export_hears_what_we_hear(
    kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = open_task(SPEECH, bases[kind], tmp_path)
    task: Any = opened.objective.eval()
    rows = rows_of(opened, 6)
    with torch.no_grad():
        task.model.lm_head.weight.normal_()
        task.model.lm_head.bias.sub_(
            answered(opened, rows).flatten(0, 1).mean(dim=0)
        )  # so that every character is said
        answers = task.predictions(opened.rows.pipeline.eval_transform(rows))
    write_export(task.export(), tmp_path / "export")
    stranger = pipeline("automatic-speech-recognition", model=str(tmp_path / "export"), device="cpu")
    said = [stranger({"raw": row[0].piece(0, len(row[0])).numpy(), "sampling_rate": 16_000})["text"] for row in rows]
    assert [heard for heard, _ in answers] == said
    assert len(set(said)) > 1
    assert len(set("".join(said))) > 2
    assert [true for _, true in answers] == [row[1] for row in rows]


def test_a_recording_too_long_or_with_too_many_characters_is_judged_and_not_trained_on(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = {0: "ab" * 60, 1: "a" * 20}  # of 25 to 50 frames
    opened = open_task(SPEECH, bases["layer"], tmp_path, source=few_transcribed(texts=dense))
    source = few_transcribed(texts=dense)
    data_pipeline: Any = opened.rows.pipeline
    capsys.readouterr()
    kept, judged = data_pipeline.prepare(source), data_pipeline.whole_examples(source)
    told = capsys.readouterr().out
    lengths = [len(judged[row][0]) for row in range(len(judged))]
    too_long = sum(length > 12_800 for length in lengths)
    assert f"{too_long} of 90 recordings of train are longer than 0.8 s: they are not trained on" in told
    fits = [length <= 12_800 and length // 320 >= frames_needed(judged[row][1]) for row, length in enumerate(lengths)]
    assert len(kept) == sum(fits) < 90 - too_long
    assert (
        f"{90 - too_long - sum(fits)} of 90 recordings of train have fewer frames than their transcripts need" in told
    )
    assert [kept[place][1] for place in range(len(kept))] == [judged[row][1] for row in np.flatnonzero(fits)]
    assert int(data_pipeline.eval_transform([judged[row] for row in range(5)])["lengths"].max()) == max(lengths[:5])
    with torch.no_grad():
        output = opened.objective(data_pipeline.eval_transform([judged[0]]), 0.0)
    assert float(output.loss_sum) == 0.0


def test_frames_are_needed_for_characters_and_between_equal_ones() -> None:
    assert [frames_needed(text) for text in ("", "a", "ab", "aa", "aab b", "aaa")] == [0, 1, 2, 3, 6, 5]


def test_transcripts_become_one_form() -> None:
    assert normalised("  E\u0301t|  A\n", keeps_case=False) == "\u00e9t a"
    assert normalised("  E\u0301t|  A\n", keeps_case=True) == "\u00c9t A"


@pytest.mark.parametrize("keep_case", [True, False])
def test_the_vocabulary_is_that_of_training_rows_and_unknown_characters_are_named(
    keep_case: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    from hfssl.tasks.speech_recognition.objective import SpeechRecognition

    opened = open_task(SPEECH, bases["layer"], tmp_path, {"keep_case": keep_case})
    data_pipeline: Any = opened.rows.pipeline
    letters = ["D", "a", "b", "c"] if keep_case else ["a", "b", "c", "d"]
    assert list(data_pipeline.processor.tokenizer.encoder) == ["<pad>", "<unk>", "|", *letters]
    assert opened.objective.model.config.vocab_size == 7
    other = few_transcribed(texts={3: "caf\u00e9 D", 4: "a\u00e9"})
    [said] = SpeechRecognition.check_rows(opened.run.method, other)
    assert said == "characters of train that no training row has, with the rows that have them: '\u00e9' (2), 'f' (1)"
    examples = data_pipeline.whole_examples(other)
    batch = data_pipeline.eval_transform([examples[3], examples[4]])
    assert batch["labels"][1].tolist() == [data_pipeline.numbers["a"], 1, -100, -100, -100, -100]
    with torch.no_grad():
        task: Any = opened.objective.eval()
        assert [true for _, true in task.predictions(batch)] == [
            "caf\u00e9 D" if keep_case else "caf\u00e9 d",
            "a\u00e9",
        ]


def test_answers_do_not_depend_on_the_batch(bases: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("layer", "group"):
        opened = moved(open_task(SPEECH, bases[kind], tmp_path))
        rows = rows_of(opened)
        together = answered(opened, rows)
        for row, logits_FV in zip(rows, together, strict=True):
            alone = answered(opened, [row])[0]
            torch.testing.assert_close(logits_FV[: len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_a_frozen_body_under_a_ctc_head_keeps_its_bits(bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_task(SPEECH, bases["group"], tmp_path, {"adaptation": "frozen"})
    body = body_of(opened.objective.model)
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    head = opened.objective.model.lm_head.weight.clone()
    moved(opened)
    assert differing(before, body.state_dict()) == []
    assert not torch.equal(head, opened.objective.model.lm_head.weight)


@pytest.mark.versions
def test_adapters_of_a_ctc_model_load_on_the_stock_base_and_merge(bases: dict[str, Path], tmp_path: Path) -> None:
    for merge in (False, True):
        method = {"adaptation": "lora", "lora_rank": 4, "merge": merge}
        opened = moved(open_task(SPEECH, bases["layer"], tmp_path / str(merge), method))
        rows = rows_of(opened)
        write_export(opened.objective.export(), tmp_path / "export")
        if merge:
            stranger = AutoModelForCTC.from_pretrained(tmp_path / "export").eval()
        else:
            base = AutoModelForCTC.from_pretrained(bases["layer"], vocab_size=7)
            stranger = PeftModel.from_pretrained(base, tmp_path / "export").eval()
        batch = opened.rows.pipeline.eval_transform(rows)
        with torch.no_grad():
            found = stranger(batch["input_values"], attention_mask=batch["attention_mask"]).logits
        frames_B = frame_counts(opened.run.method, batch["lengths"])
        for theirs, ours, frames in zip(found, answered(opened, rows), frames_B.tolist(), strict=True):
            torch.testing.assert_close(theirs[:frames], ours[:frames], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adaptation", ["full", "lora"])
def test_a_whole_run_of_recognition_is_scored_by_its_export(
    adaptation: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    from hfssl.tasks.speech_recognition.objective import SpeechRecognition

    use_few_recordings(few_transcribed())
    run = task_run(SPEECH, bases["layer"], tmp_path, {"adaptation": adaptation}, max_steps=6)
    run_dir = finetune(SpeechRecognition, run)
    whole: Any = run_dir.read_summary()
    summary = whole["scores"]
    assert (whole["output_type"], summary["rows"]) == ("transcripts", 18)
    assert summary["cer"] == pytest.approx(summary["edits"] / summary["characters"])
    assert summary["character_accuracy"] == pytest.approx(1 - summary["cer"])
    shares = [one["edits"] / len(one["true"]) for one in summary["worst"]]
    assert shares == sorted(shares, reverse=True) != []
    looks = [row for row in run_dir.read_metrics() if "validation/character_accuracy" in row]
    best = max(looks, key=lambda row: (row["validation/character_accuracy"], -row["validation/loss"]))
    assert whole["best_step"] == best["step"]


def test_the_column_of_transcripts_is_found_by_its_name(bases: dict[str, Path], tmp_path: Path) -> None:
    from hfssl.runs.labelled import with_model

    rows = few_transcribed().rows.select(range(4))
    for names, found in (({"text": "sentence"}, "sentence"), ({"text": "words"}, None), ({}, "text")):
        table = rows.rename_columns(names)
        table.to_parquet(tmp_path / "train.parquet")
        argv = ["--model", str(bases["layer"]), "--dataset", str(tmp_path / "train.parquet"), "--max_steps", "1"]
        run = parse(task_config_of(SPEECH), AudioDataConfig, argv)
        if found is None:
            with pytest.raises(ConfigError, match=r"no column is named like transcripts .audio, words.: name theirs"):
                with_model(run)
        else:
            assert with_model(run)[0].data.label_column == found
    (tmp_path / "train.parquet").unlink()
    rows.add_column("sentence", ["a"] * 4).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ConfigError, match=r"several columns could be the transcripts .text, sentence."):
        with_model(run)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"class_weights": "balanced"}, "--class_weights has no effect on transcripts"),
        ({"label_smoothing": 0.1}, "--label_smoothing has no effect on transcripts"),
        ({"class_names": ("a",)}, "--class_names has no effect on transcripts"),
    ],
)
def test_settings_of_classes_are_refused_on_transcripts(
    method: dict[str, Any], message: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        task_run(SPEECH, bases["layer"], tmp_path, method)


def test_rows_without_a_transcript_and_numbers_in_their_place_are_refused(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="30 of 90 labels of the split train are missing"):
        open_task(SPEECH, bases["layer"], tmp_path, source=few_transcribed(texts=dict.fromkeys(range(30))))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="holds no transcripts but numbers"):
        open_task(SPEECH, bases["layer"], tmp_path, source=few_recordings())


def test_tones_are_spelt_after_some_steps(bases: dict[str, Path], tmp_path: Path) -> None:
    method = {"freeze_convolutions": False, "mask_time_probability": 0.0}
    opened = open_task(SPEECH, bases["layer"], tmp_path, method, source=spelt_tones(), max_steps=120)
    data_pipeline: Any = opened.rows.pipeline
    moved(opened, 120, rate=1e-2)
    examples = data_pipeline.whole_examples(spelt_tones(120))
    with torch.no_grad():
        task: Any = opened.objective
        answers = task.predictions(data_pipeline.eval_transform([examples[row] for row in range(96, 120)]))
    assert scores(None, answers)["cer"] < 0.1
