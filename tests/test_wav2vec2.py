"""wav2vec 2.0: transformers' loss, spans and distractors inside the speech, padding that is not heard, exports."""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    BertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
    pipeline,
)

from hfssl.checkpoints.exports import write_export
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.pipeline import AudioPipeline
from hfssl.data.audio.source import open_recordings
from hfssl.data.loader import KeyedDataset
from hfssl.errors import ConfigError
from hfssl.methods.wav2vec2.config import Wav2Vec2PretrainingConfig
from hfssl.methods.wav2vec2.contrast import contrast
from hfssl.methods.wav2vec2.gumbel import code_perplexity, gumbel_noise, quantised
from hfssl.methods.wav2vec2.objective import SpanDraw, Wav2Vec2
from hfssl.nn.frames import num_frames
from hfssl.nn.spans import distractors, masked_frames
from hfssl.objective import Batch
from hfssl.randomness import random_bits, sample_keys
from hfssl.runs.init_from import adopt_checkpoint
from tests.support.laboratory import open_small, relative_error, run_of

RATE = 16_000
PLAIN = {"feature_penalty": 0.0, "conv_gradient_scale": 1.0}
LENGTHS = {"group": [16_000] * 4, "layer": [16_000, 15_000, 9_700, 12_345]}
every_norm = pytest.mark.parametrize("norm", ["group", "layer"])


def config_of(norm: str, **settings: Any) -> Wav2Vec2PretrainingConfig:
    return dataclasses.replace(Wav2Vec2PretrainingConfig.tiny(), feat_extract_norm=norm, **settings)


def built(norm: str, dtype: torch.dtype = torch.float64, **settings: Any) -> tuple[Wav2Vec2, AudioPipeline]:
    """(a tiny objective in training mode, its data path)."""
    config, data = config_of(norm, **settings), AudioDataConfig.tiny()
    pipeline = Wav2Vec2.data_pipeline(config, data, None)
    torch.manual_seed(0)
    return Wav2Vec2.build(config, pipeline, None).to(dtype).train(), pipeline


def waves(lengths: list[int]) -> list[Tensor]:
    """Noise whose colour changes, normalised; (T,) each."""
    generator = np.random.default_rng(0)
    sounds = [np.cumsum(generator.standard_normal(length) * generator.choice([1, 3], length)) for length in lengths]
    differences = [torch.from_numpy(np.diff(sound, n=1, prepend=0.0)).float() for sound in sounds]
    return [(sound - sound.mean()) / sound.std() for sound in differences]


def batch_of(pipeline: AudioPipeline, lengths: list[int], dtype: torch.dtype = torch.float64) -> Batch:
    """A training batch of one row."""
    keys_B = sample_keys(0, torch.tensor([0]), torch.tensor([0]))
    return widened(
        pipeline.collate([waves(lengths)], keys_B) | {"sample_ids": torch.tensor([0]), "keys": keys_B}, dtype
    )


def widened(batch: Batch, dtype: torch.dtype = torch.float64) -> Batch:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in batch.items()}


def one_of(batch: Batch, index: int) -> Batch:
    """Utterance `index` of a batch, as if it were alone."""
    length, slots = int(batch["lengths"][index]), int(batch["is_masked"][index].sum())
    ends = {"input_values": length, "attention_mask": length, "masked": slots, "is_masked": slots}
    names = [*ends, "lengths", "window_keys"]
    own = {name: batch[name][index : index + 1] for name in names if name in batch}
    return {name: tensor[:, : ends[name]] if name in ends else tensor for name, tensor in own.items()}


def gradients(objective: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def gradients_of(objective: Wav2Vec2, batch: Batch, progress: float = 0.3) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss sum, gradients)."""
    objective.zero_grad()
    loss = objective(dict(batch), progress).loss_sum
    loss.backward()
    return loss.detach(), gradients(objective)


# transformers' loss


class _Chosen(torch.autograd.Function):
    """The likeliest entries forward, the softmax backward: exact, so that equal codes give equal vectors."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor) -> Tensor:
        return torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def of_transformers(
    objective: Wav2Vec2, batch: Batch, progress: float, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss sum, gradients) of the stock model with our masks, distractors and noise; its float32 parts are in float64."""
    model = copy.deepcopy(objective.model).train()
    model.zero_grad()
    model.set_gumbel_temperature(objective._gumbel_temperature(progress))
    keys_N, index_NS, used_NS = batch["window_keys"], batch["masked"], batch["is_masked"]
    num_utterances, num_masked_positions = used_NS.shape
    length = num_frames(batch["input_values"].shape[1], model.config.conv_kernel, model.config.conv_stride)
    others_NSK = distractors(keys_N, used_NS, objective.config.num_negatives)
    noise_NSGV = gumbel_noise(keys_N, num_masked_positions, model.quantizer.num_groups, model.quantizer.num_vars)
    masked_NT = torch.zeros(num_utterances, length, dtype=torch.bool)
    negatives_NTK = torch.zeros(num_utterances, length, others_NSK.shape[2], dtype=torch.int64)
    noise_NTGV = torch.zeros(num_utterances, length, *noise_NSGV.shape[2:])
    for utterance in range(num_utterances):
        for slot in range(int(used_NS[utterance].sum())):
            frame = index_NS[utterance, slot]
            masked_NT[utterance, frame] = True
            negatives_NTK[utterance, frame] = utterance * length + index_NS[utterance, others_NSK[utterance, slot]]
            noise_NTGV[utterance, frame] = noise_NSGV[utterance, slot]

    def gumbel_softmax(logits: Tensor, tau: float, hard: bool) -> Tensor:
        noisy = logits + noise_NTGV.view(logits.shape)
        return _Chosen.apply(torch.softmax(noisy / tau, dim=1))

    inputs = {name: batch[name] for name in ("input_values", "attention_mask") if name in batch}
    with monkeypatch.context() as patched:
        patched.setattr("torch.nn.functional.gumbel_softmax", gumbel_softmax)
        patched.setattr(Tensor, "float", Tensor.double)
        loss = model(**inputs, mask_time_indices=masked_NT, sampled_negative_indices=negatives_NTK).loss
    loss.backward()
    return loss.detach(), {f"model.{name}": gradient for name, gradient in gradients(model).items()}


@every_norm
@pytest.mark.parametrize("num_codevectors", [2, 8])
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.9])
def test_loss_and_gradients_are_those_of_transformers(
    norm: str, num_codevectors: int, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, pipeline = built(norm, **PLAIN, num_codevectors=num_codevectors)
    batch = batch_of(pipeline, LENGTHS[norm])
    assert ("attention_mask" in batch) == (norm == "layer")
    loss, ours = gradients_of(objective, batch, progress)
    expected, theirs = of_transformers(objective, batch, progress, monkeypatch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-9)
    assert relative_error(theirs, ours) < 1e-8


def test_the_penalty_is_the_mean_square_of_an_utterances_own_frames_weighted_by_what_it_is_asked() -> None:
    plain, pipeline = built("layer", feature_penalty=0.0)
    batch = batch_of(pipeline, LENGTHS["layer"])
    expected = float(plain(batch, 0.0).loss_sum.detach())
    for index in range(4):
        alone = one_of(batch, index)
        squares = plain.model.wav2vec2.feature_extractor(alone["input_values"]).detach().square().mean()
        expected += 3.0 * float(squares * alone["is_masked"].sum())
    penalised, _ = built("layer", feature_penalty=3.0)
    assert float(penalised(batch, 0.0).loss_sum.detach()) == pytest.approx(expected, rel=1e-10)


@every_norm
@pytest.mark.parametrize("feature_penalty", [0.0, 10.0])
def test_the_gradient_of_the_convolutions_alone_is_scaled(norm: str, feature_penalty: float) -> None:
    found = []
    for scale in (1.0, 0.1):
        objective, pipeline = built(norm, feature_penalty=feature_penalty, conv_gradient_scale=scale)
        found.append(gradients_of(objective, batch_of(pipeline, LENGTHS[norm]))[1])
    convolutions = {name for name in found[0] if ".feature_extractor." in name}
    assert len(convolutions) >= 3
    expected = {name: grad * (0.1 if name in convolutions else 1.0) for name, grad in found[0].items()}
    assert relative_error({n: expected[n] for n in convolutions}, {n: found[1][n] for n in convolutions}) < 1e-10
    assert relative_error(expected, found[1]) < 1e-10


# Spans and distractors


def slow_share(lengths: list[int], probability: float, span: int) -> float:
    """Masked frames of all frames by the paper's procedure, over many draws."""
    generator = np.random.default_rng(0)
    hidden = 0.0
    for length in lengths:
        for _ in range(20):
            count = max(1, int(probability * length / span + generator.random()))
            starts = generator.choice(length - span + 1, min(count, length - span + 1), replace=False)
            hidden += len({frame for start in starts for frame in range(start, start + span)}) / 20
    return hidden / sum(lengths)


def check_spans(index_NS: Tensor, used_NS: Tensor, frames_N: Tensor, span: int) -> None:
    """Runs of at least `span` frames, inside the utterance."""
    for index_S, used_S, num in zip(index_NS, used_NS, frames_N.tolist(), strict=True):
        frames = index_S[used_S].numpy()
        assert (np.diff(frames) > 0).all()
        assert frames.max() < num
        runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
        assert min(map(len, runs)) >= span
        assert not bool(index_S[~used_S].any())


@every_norm
def test_spans_of_the_demo_hide_the_share_that_they_should_and_no_padding(norm: str) -> None:
    config = Wav2Vec2PretrainingConfig(feat_extract_norm=norm)
    data = AudioDataConfig(dataset="demo:vowels", max_duration_seconds=2.0, batch_seconds=30.0)
    pipeline = Wav2Vec2.data_pipeline(config, data, None)
    rows = KeyedDataset(pipeline.prepare(open_recordings(data)), pipeline, seed=0)
    lengths, hidden, padded = [], 0, 0
    for row in range(len(rows.examples)):
        batch = rows.__getitems__((torch.tensor([0]), torch.tensor([row])))
        frames_N = num_frames(batch["lengths"], config.conv_kernel, config.conv_stride)
        longest = num_frames(batch["input_values"].shape[1], config.conv_kernel, config.conv_stride)
        check_spans(batch["masked"], batch["is_masked"], frames_N, config.mask_length)
        lengths += frames_N.tolist()
        hidden += int(batch["is_masked"].sum())
        padded += int((longest - frames_N).sum())
    assert (padded > 0) == (norm == "layer")
    assert hidden / sum(lengths) == pytest.approx(slow_share(lengths, 0.65, 10), abs=0.005)


def test_spans_of_long_utterances_hide_about_half() -> None:
    config = Wav2Vec2PretrainingConfig()
    lengths_N = torch.randint(10 * RATE, 15 * RATE, (1_000,), generator=torch.Generator().manual_seed(0))
    frames_N = num_frames(lengths_N, config.conv_kernel, config.conv_stride)
    drawn = SpanDraw(config)(random_bits(torch.tensor([1]), "window", 1_000)[0], lengths_N)
    check_spans(drawn["masked"], drawn["is_masked"], frames_N, 10)
    share = float(drawn["is_masked"].sum() / frames_N.sum())
    assert share == pytest.approx(1 - (1 - 0.065) ** 10, abs=0.005)
    assert share == pytest.approx(0.49, abs=0.005)


def test_distractors_are_other_masked_frames_of_the_utterance_all_as_likely() -> None:
    keys_N = random_bits(torch.tensor([1]), "window", 400)[0]
    used_NS = torch.arange(9) < torch.tensor([9, 2, 3, 6] * 100)[:, None]
    others_NSK = distractors(keys_N, used_NS, 50)
    for count in (9, 2, 3, 6):
        chosen_NSK = others_NSK[used_NS.sum(dim=1) == count][:, :count]
        for slot in range(count):
            shares = torch.bincount(chosen_NSK[:, slot].flatten(), minlength=count) / chosen_NSK[:, slot].numel()
            expected = torch.full((count,), 1 / (count - 1))
            expected[slot] = 0
            assert torch.allclose(shares, expected, atol=0.03)
            assert shares[slot] == 0
            assert len(shares) == count


def test_hidden_frames_are_hidden_and_only_from_the_transformer() -> None:
    """Another sound under a span changes the targets, but nothing of what the transformer makes of the rest."""
    objective, pipeline = built("layer", conv_kernel=(10, 8, 4), conv_stride=(10, 8, 4))  # frames that share no sample
    batch = batch_of(pipeline, [16_000])
    seen: list[Tensor] = []
    encoder = objective.model.wav2vec2.encoder
    encoder.register_forward_hook(lambda module, inputs, output: seen.append(output.last_hidden_state.detach()))
    before = objective._contrast(batch, 0.0)
    heard = batch["input_values"].view(1, -1, 320).clone()
    heard[0, batch["masked"][0]] += torch.randn(len(batch["masked"][0]), 320, dtype=torch.float64)
    after = objective._contrast(batch | {"input_values": heard.view(1, -1)}, 0.0)
    assert torch.equal(*seen)
    assert not torch.allclose(before.code_logits_NSGV, after.code_logits_NSGV)


# Padding


def test_a_longer_utterance_in_the_batch_changes_neither_features_nor_loss() -> None:
    objective, pipeline = built("layer", diversity_weight=0.0)
    batch = batch_of(pipeline, LENGTHS["layer"])
    together = objective(batch, 0.0)
    alone = [objective(one_of(batch, index), 0.0) for index in range(4)]
    assert float(together.loss_sum.detach()) == pytest.approx(
        sum(float(output.loss_sum.detach()) for output in alone), rel=1e-10
    )
    assert int(together.num_targets) == sum(int(output.num_targets) for output in alone)
    objective.eval()
    features = objective.features(batch)
    for index in range(4):
        assert torch.allclose(objective.features(one_of(batch, index))[0], features[index], rtol=0, atol=1e-12)


@every_norm
def test_features_are_those_of_each_recording_alone_by_the_exported_model(norm: str, tmp_path: Path) -> None:
    objective, pipeline = built(norm, torch.float32)
    objective.eval()
    write_export(objective.export(), tmp_path / "export")
    model = AutoModel.from_pretrained(tmp_path / "export").eval()
    processor = AutoFeatureExtractor.from_pretrained(tmp_path / "export")
    sounds = [3.0 * wave + 0.5 for wave in waves([16_000, 9_000, 16_000, 12_321, 4_000])]
    with torch.no_grad():
        features = objective.features(pipeline.eval_transform(sounds))
        for sound, expected in zip(sounds, features, strict=True):
            inputs = processor(sound.numpy(), sampling_rate=RATE, return_tensors="pt")
            assert ("attention_mask" in inputs) == (norm == "layer")
            assert torch.allclose(model(**inputs).last_hidden_state.mean(dim=1)[0], expected, rtol=0, atol=1e-5)


# Little or nothing to tell apart


def emptied(batch: Batch, keep: Callable[[Tensor], Tensor]) -> Batch:
    """A batch of which `keep` says which masked frames stay."""
    used_NS = keep(batch["is_masked"])
    return batch | {"masked": batch["masked"] * used_NS, "is_masked": used_NS}


def test_utterances_that_are_shorter_than_a_span_have_none() -> None:
    frames_N = torch.tensor([9, 10, 0, 200])
    index_NS, used_NS = masked_frames(torch.arange(4), frames_N, 0.65, 10)
    assert used_NS.sum(dim=1).tolist()[:3] == [0, 10, 0]
    assert index_NS[1][used_NS[1]].tolist() == list(range(10))
    assert masked_frames(torch.arange(2), torch.tensor([3, 5]), 0.65, 10)[0].shape == (2, 0)


@every_norm
@pytest.mark.parametrize("slots", ["none are there", "none are used"])
def test_a_batch_without_a_masked_frame_has_no_loss_and_finite_gradients(norm: str, slots: str) -> None:
    objective, pipeline = built(norm)
    batch = emptied(batch_of(pipeline, LENGTHS[norm]), torch.zeros_like)
    if slots == "none are there":
        batch |= {name: batch[name][:, :0] for name in ("masked", "is_masked")}
    output = objective(batch, 0.0)
    assert float(output.loss_sum.detach()) == float(output.num_targets) == 0.0
    assert all(bool(metric.isfinite()) for metric in map(torch.as_tensor, output.metrics.values()))
    output.loss_sum.backward()
    found = gradients(objective)
    assert found.keys() == dict(objective.named_parameters()).keys()
    assert not any(bool(gradient.any()) for gradient in found.values())
    assert objective.eval().pretext(batch).chance == 1.0


@pytest.mark.parametrize("left", [0, 1])
def test_an_utterance_with_one_masked_frame_or_none_is_not_asked_and_disturbs_no_other(left: int) -> None:
    objective, pipeline = built("layer", diversity_weight=0.0)
    batch = batch_of(pipeline, LENGTHS["layer"])
    fewer = emptied(
        batch, lambda used_NS: used_NS & ((torch.arange(used_NS.shape[1]) < left) | (torch.arange(4) != 2)[:, None])
    )
    output, expected = objective(fewer, 0.0), [objective(one_of(batch, index), 0.0) for index in (0, 1, 3)]
    assert float(output.loss_sum.detach()) == pytest.approx(
        sum(float(one.loss_sum.detach()) for one in expected), rel=1e-10
    )
    assert int(output.num_targets) == sum(int(one.num_targets) for one in expected)
    alone = emptied(one_of(batch, 2), lambda used_NS: used_NS & (torch.arange(used_NS.shape[1]) < left))
    for slots in {alone["masked"].shape[1], left}:
        short = alone | {name: alone[name][:, :slots] for name in ("masked", "is_masked")}
        assert float(objective(short, 0.0).loss_sum.detach()) == 0.0


def all_alike(objective: Wav2Vec2) -> None:
    """Make the quantiser choose the first entries always."""
    with torch.no_grad():
        objective.model.quantizer.weight_proj.weight.zero_()
        objective.model.quantizer.weight_proj.bias.view(2, -1)[:] = torch.tensor([200.0] + [0.0] * 7)


def test_where_all_codes_are_alike_nothing_is_left_to_tell_apart() -> None:
    objective, pipeline = built("layer", feature_penalty=0.0, diversity_weight=0.0)
    all_alike(objective)
    batch = batch_of(pipeline, LENGTHS["layer"])
    logits_NSK = objective._contrast(batch, 0.0).logits_NSK
    assert bool(logits_NSK[..., 0].isfinite().all())
    assert bool((logits_NSK[..., 1:] == -torch.inf).all())
    output = objective(batch, 0.0)
    assert float(output.loss_sum.detach()) == 0.0
    assert float(output.metrics["code_entropy"]) == pytest.approx(0.0, abs=1e-6)
    assert float(output.metrics["target_std"]) == pytest.approx(0.0, abs=1e-6)
    output.loss_sum.backward()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(objective).values())


def test_a_distractor_is_left_out_where_all_its_codes_are_those_of_the_frame() -> None:
    objective, pipeline = built("layer", num_codevectors=2)
    objective.eval()
    batch = batch_of(pipeline, LENGTHS["layer"])
    with torch.no_grad():
        logits_NSK = objective._contrast(batch, 1.0).logits_NSK[..., 1:]
        found = objective._contrast(batch, 1.0)
    codes_NSG = found.code_logits_NSGV.argmax(dim=3)
    others_NSK = distractors(batch["window_keys"], batch["is_masked"], 5)
    left_out = 0
    for utterance, slot in batch["is_masked"].nonzero().tolist():
        for place, other in enumerate(others_NSK[utterance, slot].tolist()):
            equal = torch.equal(codes_NSG[utterance, other], codes_NSG[utterance, slot])
            assert (logits_NSK[utterance, slot, place] == -torch.inf) == equal
            left_out += equal
    assert 0 < left_out < int(batch["is_masked"].sum()) * 5


# The quantiser


def test_noise_is_that_of_gumbel_and_finite_for_every_uniform_number(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = gumbel_noise(torch.arange(100), 50, 2, 100)
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.005)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.01)
    ends = torch.tensor([[0.0, 2.0**-24, 0.5, 1.0 - 2.0**-24]])
    monkeypatch.setattr("hfssl.methods.wav2vec2.gumbel.uniform", lambda keys_N, stream, num: ends)
    lowest, second, _, highest = gumbel_noise(torch.tensor([0]), 1, 2, 2).flatten().tolist()
    assert -3 < lowest < second < 0 < highest < 17


def test_the_perplexity_has_a_finite_gradient_where_no_frame_comes_near_an_entry() -> None:
    logits_NSGV = torch.zeros(1, 3, 2, 8)
    logits_NSGV[..., 0] = -200.0
    logits_NSGV.requires_grad_()
    perplexity = code_perplexity(logits_NSGV, torch.ones(1, 3, dtype=torch.bool))
    perplexity.backward()
    assert float(perplexity.detach()) == pytest.approx(14.0)
    assert bool(logits_NSGV.grad.isfinite().all())


def test_the_choice_of_codes_cools_down_geometrically() -> None:
    objective, _ = built("layer", initial_gumbel_temperature=2.0, gumbel_temperature=0.5, gumbel_fraction=0.8)
    found = [objective._gumbel_temperature(progress) for progress in (0.0, 0.2, 0.4, 0.8, 1.0)]
    assert found == pytest.approx([2.0, 2.0**0.5, 1.0, 0.5, 0.5])


def test_the_temperature_of_the_schedule_reaches_the_quantiser(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, pipeline = built("layer")
    used: list[float] = []

    def noted(*arguments: Any, **settings: Any) -> Any:
        used.append(settings["gumbel_temperature"])
        return contrast(*arguments, **settings)

    monkeypatch.setattr("hfssl.methods.wav2vec2.objective.contrast", noted)
    batch = batch_of(pipeline, LENGTHS["layer"])
    for progress in (0.0, 1.0):
        objective(batch, progress)
    assert used == [2.0, 0.5]


def test_a_choice_passes_its_gradient_on_to_the_logits_as_a_softmax_does() -> None:
    objective, _ = built("layer")
    quantizer = objective.model.quantizer
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 6, 8, generator=generator, dtype=torch.float64).requires_grad_()
    noise = gumbel_noise(torch.tensor([1]), 6, 2, 8)
    weights = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    chosen = quantised(quantizer, features, noise, 0.7)
    logits = quantizer.weight_proj(features).view(6, 2, 8)
    entries = quantizer.codevectors.view(2, 8, 4)
    expected_codes = (logits + noise[0]).argmax(dim=2)
    picked = torch.stack([entries[group, expected_codes[:, group]] for group in range(2)], dim=1).flatten(1)
    assert torch.equal(chosen.codes_NSG[0], expected_codes)
    assert torch.allclose(chosen.vectors_NSW[0], picked)
    soft = torch.einsum("sgv,gvd->sgd", torch.softmax((logits + noise[0]) / 0.7, dim=2), entries).flatten(1)
    ours, theirs = (torch.autograd.grad((out * weights).sum(), features)[0] for out in (chosen.vectors_NSW[0], soft))
    assert bool(theirs.any())
    assert torch.allclose(ours, theirs)


# Export and start


@every_norm
def test_the_export_is_stock_and_hears_as_training_did(norm: str, tmp_path: Path) -> None:
    objective, _ = built(norm, torch.float32)
    data_pipeline = Wav2Vec2.data_pipeline(
        objective.config, dataclasses.replace(AudioDataConfig.tiny(), normalise=False), None
    )
    objective._processor = data_pipeline.processor
    write_export(objective.export(), tmp_path)
    encoder, whole = (
        AutoModel.from_pretrained(tmp_path),
        Wav2Vec2ForPreTraining.from_pretrained(tmp_path / "pretraining"),
    )
    assert type(encoder) is Wav2Vec2Model
    assert encoder.config.hfssl_pooling == "mean"
    assert encoder.config.mask_time_prob < whole.config.mask_time_prob == objective.config.mask_probability
    processor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(processor) is Wav2Vec2FeatureExtractor
    assert (processor.do_normalize, processor.sampling_rate) == (False, RATE)
    assert processor.return_attention_mask == (norm == "layer")
    for name, tensor in objective.model.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])
    sound = waves([8_000])[0].numpy()
    features = pipeline("feature-extraction", model=str(tmp_path), tokenizer=processor)(sound)
    expected = encoder.eval()(torch.from_numpy(sound)[None]).last_hidden_state.detach()
    assert torch.allclose(torch.tensor(features), expected, atol=1e-5)


@every_norm
def test_a_run_starts_from_the_full_model_with_the_same_loss_and_from_an_encoder_with_a_new_head(
    norm: str, tmp_path: Path
) -> None:
    objective, pipeline = built(norm, torch.float32)
    batch = batch_of(pipeline, LENGTHS[norm], torch.float32)
    expected = float(objective(batch, 0.5).loss_sum.detach())
    write_export(objective.export(), tmp_path)
    other, _ = built(norm, torch.float32)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    report = other.load_pretrained(str(tmp_path))
    heads = {name for name in before if not name.startswith("wav2vec2.")}
    assert set(report.new) == heads
    assert report.unused == []
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in heads else objective.model.state_dict()[name])
    report = other.load_pretrained(str(tmp_path / "pretraining"))
    assert (report.new, report.unused) == ([], [])
    assert set(report.loaded) == set(before)
    assert float(other(batch, 0.5).loss_sum.detach()) == expected


def test_a_checkpoint_of_other_sizes_is_refused_with_both_shapes(tmp_path: Path) -> None:
    write_export(built("layer")[0].export(), tmp_path)
    with pytest.raises(ConfigError, match=r"codevectors does not fit: \(1, 16, 4\) in .*, \(1, 32, 4\) here"):
        built("layer", num_codevectors=16)[0].load_pretrained(str(tmp_path / "pretraining"))
    with pytest.raises(ConfigError, match="nowhere cannot be loaded"):
        built("layer")[0].load_pretrained(str(tmp_path / "nowhere"))


def test_a_config_brings_sizes_convolutions_and_codebooks(tmp_path: Path) -> None:
    stock = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(10, 8),
        feat_extract_norm="group",
        num_codevectors_per_group=6,
        codevector_dim=12,
        layerdrop=0.1,
        mask_time_prob=0.0,
    )
    stock.save_pretrained(tmp_path)
    run = run_of("wav2vec2", tmp_path / "run", model_config=str(tmp_path))
    run, model_config = adopt_checkpoint(run)
    method = run.method
    assert isinstance(method, Wav2Vec2PretrainingConfig)
    assert (method.hidden_size, method.num_hidden_layers, method.intermediate_size) == (32, 1, 48)
    assert (method.conv_dim, method.conv_stride, method.feat_extract_norm) == ((8, 8), (10, 8), "group")
    assert (method.num_codevectors, method.codevector_size) == (6, 12)
    pipeline = Wav2Vec2.data_pipeline(method, run.data, None)
    objective = Wav2Vec2.build(method, pipeline, model_config).double().train()
    assert pipeline.crops
    assert objective.model.config.layerdrop == 0.0
    assert (
        gradients_of(objective, batch_of(pipeline, [16_000] * 2))[1].keys() == dict(objective.named_parameters()).keys()
    )
    with pytest.raises(ConfigError, match="wav2vec2 builds on the config of a wav2vec2, got one of type bert"):
        method.adopt(AudioDataConfig.tiny(), BertConfig(), frozenset())


# Settings that cannot work


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden_size": 30, "num_attention_heads": 4}, "hidden_size 30 must be a multiple of num_attention_heads 4"),
        ({"conv_dim": (8, 8)}, "conv_dim, conv_kernel and conv_stride must have the same number of values"),
        ({"codevector_size": 7}, "codevector_size must be even, got 7"),
        ({"mask_probability": 65.0}, r"mask_probability must be in \(0, 1\), got 65"),
        ({"mask_length": 0}, "mask_length must be above 0, got 0"),
        ({"gumbel_temperature": 0.0}, "gumbel_temperature must be above 0"),
        ({"conv_gradient_scale": -1.0}, "conv_gradient_scale must be at least 0"),
    ],
)
def test_settings_that_can_not_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of("layer", **settings)


def test_a_span_must_fit_into_the_shortest_recording(tmp_path: Path) -> None:
    config_of("layer", mask_length=24).check(AudioDataConfig.tiny())
    with pytest.raises(ConfigError, match=r"0.5 s at 16000 Hz has 25 frames.* more than the 25 .*--mask_length"):
        config_of("layer", mask_length=25).check(AudioDataConfig.tiny())
    with pytest.raises(ConfigError, match="--min_duration_seconds"):
        run_of("wav2vec2", tmp_path, {"mask_length": 30})


def test_rows_of_a_group_norm_go_through_one_by_one(tmp_path: Path) -> None:
    opened = open_small("wav2vec2", tmp_path, method={"feat_extract_norm": "group"})
    assert opened.layout.per_device_batch_size == 1
    with pytest.raises(ConfigError, match=r"per_device_batch_size 2 would crop rows .* leave it at 1"):
        open_small("wav2vec2", tmp_path, method={"feat_extract_norm": "group"}, per_device_batch_size=2)
