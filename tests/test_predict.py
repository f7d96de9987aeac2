"""Predictions: what transformers' pipelines say, whatever the batch; a bad sample costs its own row; refusals that help."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from hfssl.commands.predict import predict
from hfssl.console import reported
from hfssl.errors import ConfigError
from hfssl.evaluation import pixels
from hfssl.predicting import batches, opened
from hfssl.predicting.predict_config import PredictConfig
from tests.support.recordings import RATE, noise
from tests.support.scripts import run_recipe

ROOT = Path(__file__).parent.parent
LABELS = ["ant", "bee", "cat, big"]
TEXTS = ["red", "a blue bee", "", "cat " * 40, "bee ant", "the big red cat is blue", "Größe\tcat"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bee", "ant", "cat", "the", "big", "is"]
SECONDS = [0.5, 0.8, 0.5, 1.1, 0.65]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,  # answers far from one another
}
NAMED: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}


def _pixels_of(file: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())


def write_vit(folder: Path, **settings: Any) -> str:
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, **SMALL | NAMED | settings)).save_pretrained(
        folder
    )
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


def write_tokenizer(folder: Path, **special: Any) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **special).save_pretrained(folder)


def write_bert(folder: Path, model_class: Any = BertForSequenceClassification, **settings: Any) -> str:
    torch.manual_seed(0)
    sizes = SMALL | NAMED | {"vocab_size": len(WORDS), "max_position_embeddings": 24} | settings
    model_class(BertConfig(**sizes)).save_pretrained(folder)
    write_tokenizer(folder, pad_token="[PAD]", model_max_length=24)
    return str(folder)


def write_wav2vec2(folder: Path, norm: str = "layer", **settings: Any) -> str:
    """With group norm the model hears padding, and its extractor gives no mask."""
    torch.manual_seed(0)
    shape = {"conv_dim": (8, 8), "conv_stride": (10, 8), "conv_kernel": (20, 16), "feat_extract_norm": norm}
    shape |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
    config = Wav2Vec2Config(**SMALL | NAMED | shape | {"num_feat_extract_layers": 2} | settings)
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "vit": write_vit(folder / "vit"),
        "bert": write_bert(folder / "bert"),
        "wav2vec2": write_wav2vec2(folder / "wav2vec2"),
        "group": write_wav2vec2(folder / "group", norm="group"),
    }


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of several modes and sizes, one truncated, one in a folder below, and a file that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "below").mkdir()
    generator = np.random.default_rng(0)
    for number, size in enumerate([(20, 24), (40, 30), (16, 16), (18, 50), (33, 21), (60, 16)]):
        place = folder / "below" if number == 5 else folder
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(place / f"{number}.png")
    content = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(content[: len(content) // 2])
    Image.fromarray(generator.integers(0, 65536, (20, 20), dtype=np.uint16)).save(folder / "deep.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings, two of them equally long, one silent and one too short for the model."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, seconds in enumerate(SECONDS):
        soundfile.write(folder / f"{number}.wav", noise(seconds, number) * (number + 1) / 5, RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE // 2), RATE)
    soundfile.write(folder / "short.wav", noise(0.001, 9), RATE)
    return folder


def rows_of(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def predicted(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def run(model: str, given: Path | str, output: str = "p.jsonl", **flags: Any) -> list[dict[str, Any]]:
        config = PredictConfig(model=model, input=str(given), output=str(tmp_path / "out" / output), **flags)
        return rows_of(predict(config))

    return run


def is_answer(row: dict[str, Any], expected: list[dict[str, Any]]) -> bool:
    """Whether a row of top 3 says what a pipeline does."""
    keys = [("label", "probability"), ("label_2", "probability_2"), ("label_3", "probability_3")]
    same = [row[label] == other["label"] for (label, _), other in zip(keys, expected, strict=True)]
    close = [abs(row[name] - other["score"]) < 1e-4 for (_, name), other in zip(keys, expected, strict=True)]
    return all(same) and all(close)


def test_images_get_what_a_pipeline_says(
    checkpoints: dict[str, str], photographs: Path, predicted: Callable[..., Any]
) -> None:
    rows = predicted(checkpoints["vit"], photographs, top_k=3, batch_size=4)
    assert [row["input"] for row in rows] == ["0.png", "1.png", "2.png", "3.png", "4.png", "below/5.png", "deep.png"]
    classify = pipeline("image-classification", checkpoints["vit"])
    answered = {row["input"]: row for row in rows if row["error"] is None}
    assert sorted(answered) == ["0.png", "1.png", "2.png", "4.png", "below/5.png", "deep.png"]
    for name in set(answered) - {"deep.png"}:
        assert is_answer(answered[name], classify(Image.open(photographs / name), top_k=3))
    deep = np.asarray(Image.open(photographs / "deep.png")) // 257
    as_eight_bits = Image.fromarray(deep.astype(np.uint8)).convert("RGB")
    assert is_answer(answered["deep.png"], classify(as_eight_bits, top_k=3))
    assert len({row["probability"] for row in answered.values()}) == 6
    assert rows[3] | {"error": ""} == dict.fromkeys(rows[3]) | {"input": "3.png", "error": ""}
    assert rows[3]["error"].startswith("cannot be read")
    assert str(photographs) not in json.dumps(rows)


def test_texts_get_what_a_pipeline_says(
    checkpoints: dict[str, str], tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    rows = predicted(checkpoints["bert"], tmp_path / "t.txt", top_k=3, batch_size=3)
    classify = pipeline("text-classification", checkpoints["bert"])
    assert [row["input"] for row in rows] == list(range(len(TEXTS)))
    assert [row["error"] for row in rows] == ["the text is empty" if not text else None for text in TEXTS]
    for row, text in zip(rows, TEXTS, strict=True):
        if text:
            assert is_answer(row, classify(text, top_k=3, truncation=True))
    assert len({row["probability"] for row in rows}) == len(TEXTS)


@pytest.mark.parametrize("model", ["wav2vec2", "group"])
def test_recordings_get_what_a_pipeline_says(
    model: str, checkpoints: dict[str, str], recordings: Path, predicted: Callable[..., Any]
) -> None:
    rows = predicted(checkpoints[model], recordings, top_k=3, batch_size=8)
    classify = pipeline("audio-classification", checkpoints[model])
    assert [row["input"] for row in rows] == [*(f"{number}.wav" for number in range(5)), "short.wav", "silent.wav"]
    for row in rows[:5]:
        audio, _ = soundfile.read(recordings / row["input"], dtype="float32")
        assert row["error"] is None
        assert is_answer(row, classify({"raw": audio, "sampling_rate": RATE}, top_k=3))
    assert rows[5]["error"] == "is shorter than 0.1 s"
    assert rows[6]["error"] == "is silent"


def test_a_recording_of_another_rate_is_brought_to_the_models(
    checkpoints: dict[str, str], tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    times = np.arange(3 * RATE) / (3 * RATE)
    tone = 0.3 * np.sin(2 * np.pi * 440 * times) + 0.2 * np.sin(2 * np.pi * 700 * times)
    soundfile.write(tmp_path / "a.wav", tone[::3], RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([tone, tone], axis=1), 3 * RATE)
    same, resampled = predicted(checkpoints["wav2vec2"], tmp_path)
    assert same["label"] == resampled["label"]
    assert abs(same["probability"] - resampled["probability"]) < 0.01


@pytest.mark.parametrize("model", ["vit", "bert", "wav2vec2", "group"])
def test_the_batch_size_changes_nothing(
    model: str,
    checkpoints: dict[str, str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    predicted: Callable[..., Any],
) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    fixture = {"vit": "photographs", "bert": None}.get(model, "recordings")
    given = tmp_path / "t.txt" if fixture is None else request.getfixturevalue(fixture)
    alone = predicted(checkpoints[model], given, top_k=3, batch_size=1)
    for batch_size in (2, 5, 64):
        together = predicted(checkpoints[model], given, top_k=3, batch_size=batch_size)
        assert [row["input"] for row in together] == [row["input"] for row in alone]
        for one, other in zip(alone, together, strict=True):
            assert (one["label"], one["error"]) == (other["label"], other["error"])
            for name in ("probability", "probability_2", "probability_3"):
                assert one[name] == pytest.approx(other[name], abs=1e-5)


def test_samples_go_through_together_where_padding_is_not_heard(
    checkpoints: dict[str, str], recordings: Path, predicted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    original = opened.Opened.outputs

    def counted(self: Any, samples: list[Any]) -> list[torch.Tensor]:
        sizes.append(len(samples))
        return original(self, samples)

    good = [recordings / f"{number}.wav" for number in range(5)]
    table = recordings / "good.csv"
    table.write_text("path\n" + "\n".join(path.name for path in good))
    monkeypatch.setattr(opened.Opened, "outputs", counted)
    for model, expected in (("wav2vec2", [5]), ("group", [2, 1, 1, 1])):
        sizes.clear()
        predicted(checkpoints[model], table)
        assert sizes[-len(expected) :] == expected
    table.unlink()


def test_a_mask_that_the_model_does_not_heed_is_noticed(
    tmp_path: Path, recordings: Path, predicted: Callable[..., Any]
) -> None:
    model = write_wav2vec2(tmp_path / "heard", norm="group")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(model)
    alone, together = (predicted(model, recordings, batch_size=size) for size in (1, 8))
    for one, other in zip(alone, together, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_a_decoder_without_a_padding_token_reads_one_text_at_a_time(
    tmp_path: Path, predicted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    seen: list[int] = []
    original = opened.Opened.outputs
    monkeypatch.setattr(
        opened.Opened, "outputs", lambda self, samples: seen.append(len(samples)) or original(self, samples)
    )
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": len(WORDS)}
    GPT2ForSequenceClassification(GPT2Config(**sizes, initializer_range=0.5, **NAMED)).save_pretrained(
        tmp_path / "gpt2"
    )
    write_tokenizer(tmp_path / "gpt2")
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    classify = pipeline("text-classification", str(tmp_path / "gpt2"))
    for row, text in zip(predicted(str(tmp_path / "gpt2"), tmp_path / "t.txt", top_k=3), TEXTS, strict=True):
        assert is_answer(row, classify(text, top_k=3)) if text else row["error"] == "the text is empty"
    assert seen == [1] * (len(TEXTS) - 1)


def test_what_does_not_pass_the_model_costs_its_own_row(
    checkpoints: dict[str, str], photographs: Path, predicted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predicted(checkpoints["vit"], photographs)
    culprit = pixels.processed(
        ViTImageProcessor.from_pretrained(checkpoints["vit"]), [_pixels_of(photographs / "1.png")]
    )
    original = opened.Opened.outputs

    def choking(self: Any, samples: list[Any]) -> list[torch.Tensor]:
        if any(np.array_equal(sample["pixel_values"], culprit[0].numpy()) for sample in samples):
            raise RuntimeError("too much\nfor the memory")
        if len(samples) == 1:
            return [values * torch.nan for values in original(self, samples)]
        return original(self, samples)

    monkeypatch.setattr(opened.Opened, "outputs", choking)
    rows = predicted(checkpoints["vit"], photographs)  # 0 1 2 | 4 5 deep, then 0 | 1 2, then 1 | 2
    assert rows[1]["error"] == "does not pass the model: too much for the memory"
    assert rows[1]["label"] is None
    not_finite = [row["input"] for row in rows if row["error"] == "the model's answer is not finite"]
    assert not_finite == ["0.png", "2.png"]
    assert rows[3:] == whole[3:]


def test_worker_processes_and_small_windows_keep_the_order(
    checkpoints: dict[str, str], photographs: Path, predicted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predicted(checkpoints["vit"], photographs)
    monkeypatch.setattr(batches, "_BYTES_A_WINDOW", 5000)
    monkeypatch.setattr(batches, "num_workers", lambda num_batches, device: 2)
    assert pixels.num_workers(10, torch.device("cpu")) == 0
    for one, other in zip(whole, predicted(checkpoints["vit"], photographs, batch_size=2), strict=True):
        assert (one["input"], one["label"]) == (other["input"], other["label"])
        assert one["error"] == other["error"]


def test_csv_and_jsonl_hold_the_same(
    checkpoints: dict[str, str], photographs: Path, tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    several = write_vit(tmp_path / "several", problem_type="multi_label_classification")
    for model, flags in ((checkpoints["vit"], {"top_k": 2}), (several, {})):
        from_csv = predicted(model, photographs, "p.csv", **flags)
        from_jsonl = predicted(model, photographs, "p.jsonl", **flags)
        assert [list(row) for row in from_csv] == [list(row) for row in from_jsonl]
        for cells, row in zip(from_csv, from_jsonl, strict=True):
            for name, value in row.items():
                expected = "" if value is None else json.dumps(value) if isinstance(value, list) else str(value)
                assert cells[name] == expected
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p.csv", "p.jsonl"]


def test_several_labels_are_those_of_at_least_one_half(tmp_path: Path, predicted: Callable[..., Any]) -> None:
    model = write_vit(tmp_path / "several", problem_type="multi_label_classification")
    (tmp_path / "colours").mkdir()
    for number, colour in enumerate(["red", "lime", "blue", "white", "black", "yellow", "purple", "gray"]):
        Image.new("RGB", (16, 16), colour).save(tmp_path / "colours" / f"{number}.png")
    classify = pipeline("image-classification", model)
    counts = set()
    for row in predicted(model, tmp_path / "colours"):
        said = classify(Image.open(tmp_path / "colours" / row["input"]), top_k=3)
        held = [answer for answer in said if answer["score"] >= 0.5]
        assert row["labels"] == [answer["label"] for answer in held]
        assert row["probabilities"] == pytest.approx([answer["score"] for answer in held], abs=1e-4)
        counts.add(len(held))
    assert len(counts) > 1


def test_a_regression_head_gives_a_value(tmp_path: Path, predicted: Callable[..., Any]) -> None:
    model = write_bert(tmp_path / "bert", id2label={0: "score"}, label2id={"score": 0}, problem_type="regression")
    (tmp_path / "t.txt").write_text("red\na blue bee\n")
    rows = predicted(model, tmp_path / "t.txt")
    assert list(rows[0]) == ["input", "value", "error"]
    classify = pipeline("text-classification", model)
    assert [row["value"] for row in rows] == pytest.approx(
        [classify(text)[0]["score"] for text in ("red", "a blue bee")], abs=1e-4
    )


def test_tables_of_texts_and_of_paths(
    checkpoints: dict[str, str], photographs: Path, tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    expected = predicted(checkpoints["bert"], tmp_path / "t.txt")
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["n", "text"], *enumerate(TEXTS)])
    with (tmp_path / "one.csv").open("w", newline="", encoding="utf-8") as file:
        file.write("text\n" + "".join(f"{text}\n" for text in TEXTS))
    lines = [json.dumps({"n": number, "text": text}) for number, text in enumerate(TEXTS)]
    (tmp_path / "t.jsonl").write_text("\n".join([*lines, "{damaged", '{"n": 1}', '{"text": 5}']))
    pyarrow.parquet.write_table(pyarrow.table({"n": range(len(TEXTS)), "text": TEXTS}), tmp_path / "t.parquet")
    assert predicted(checkpoints["bert"], tmp_path / "t.csv", column="text") == expected
    assert predicted(checkpoints["bert"], tmp_path / "one.csv") == expected
    assert predicted(checkpoints["bert"], tmp_path / "t.parquet") == expected
    rows = predicted(checkpoints["bert"], tmp_path / "t.jsonl")
    assert rows[: len(TEXTS)] == expected
    errors = [row["error"] for row in rows[len(TEXTS) :]]
    assert errors == ["the line is no JSON object", "the text is empty", "holds no text but a int"]

    table = photographs / "table.csv"
    table.write_text("path,n\nbelow/5.png,1\nmissing.png,2\n,3\n0.png,4\n")
    rows = predicted(checkpoints["vit"], table, column="path")
    table.unlink()
    whole = {row["input"]: row for row in predicted(checkpoints["vit"], photographs)}
    assert [row["input"] for row in rows] == ["below/5.png", "missing.png", 2, "0.png"]
    assert [row["error"] for row in rows] == [None, "there is no such file", "the row holds no path", None]
    assert (rows[0], rows[3]) == (whole["below/5.png"], whole["0.png"])
    stored = [{"bytes": (photographs / "0.png").read_bytes(), "path": "0.png"}]
    pyarrow.parquet.write_table(pyarrow.table({"image": stored}), tmp_path / "i.parquet")
    assert predicted(checkpoints["vit"], tmp_path / "i.parquet") == [whole["0.png"]]


def test_a_folder_of_texts_is_a_row_a_file(
    checkpoints: dict[str, str], tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    folder = tmp_path / "texts"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "1.txt").write_text("red\ncat")
    (folder / "a.txt").write_bytes(b"caf\xe9 red")
    rows = predicted(checkpoints["bert"], folder)
    assert [(row["input"], row["error"]) for row in rows] == [("a.txt", "is not UTF-8"), ("b/1.txt", None)]
    said = pipeline("text-classification", checkpoints["bert"])("red\ncat")[0]
    assert (rows[1]["label"], rows[1]["probability"]) == (said["label"], pytest.approx(said["score"], abs=1e-4))


@pytest.mark.versions
def test_an_adapter_with_its_head_is_its_merged_model(
    photographs: Path, tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    base = write_vit(tmp_path / "base", id2label={0: "x", 1: "y"}, label2id={"x": 0, "y": 1})
    torch.manual_seed(1)
    model = ViTForImageClassification.from_pretrained(base, num_labels=5, ignore_mismatched_sizes=True)
    targets = [name for name, part in model.vit.named_modules() if isinstance(part, torch.nn.Linear)]
    settings = LoraConfig(r=2, target_modules=targets, modules_to_save=["classifier"], init_lora_weights=False)
    adapted = get_peft_model(model, settings)
    with torch.no_grad():
        adapted.base_model.model.classifier.modules_to_save["default"].weight.normal_()
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "merged")
    expected = predicted(str(tmp_path / "merged"), photographs)
    for one, other in zip(expected, predicted(str(tmp_path / "adapter"), photographs), strict=True):
        assert (one["label"], one["error"]) == (other["label"], other["error"])
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    named = model.config
    named.id2label, named.label2id = ({i: f"kind {i}" for i in range(5)}, {f"kind {i}": i for i in range(5)})
    named.save_pretrained(tmp_path / "adapter")  # beside the adapter it says what the labels are called
    rows = predicted(str(tmp_path / "adapter"), photographs)
    assert [row["label"] for row in rows] == [
        row["label"] and row["label"].replace("LABEL_", "kind ") for row in expected
    ]
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("layout: 2\nrecipe: any\n")
    shutil.copytree(tmp_path / "adapter", run / "export", ignore=shutil.ignore_patterns("config.json"))
    assert [row["label"] for row in predicted(str(run), photographs)] == [row["label"] for row in expected]
    headless = LoraConfig(r=2, target_modules=targets)
    get_peft_model(ViTForImageClassification.from_pretrained(base).vit, headless).save_pretrained(tmp_path / "headless")
    with pytest.raises(ConfigError, match="is a ViTModel, which has no head of a task"):
        predicted(str(tmp_path / "headless"), photographs)


@pytest.mark.versions
def test_an_adapter_that_lacks_weights_is_refused(tmp_path: Path, predicted: Callable[..., Any]) -> None:
    base = write_bert(tmp_path / "base")
    adapted = get_peft_model(
        BertForSequenceClassification.from_pretrained(base),
        LoraConfig(r=2, task_type="SEQ_CLS", target_modules=["query"]),
    )
    adapted.save_pretrained(tmp_path / "adapter")
    (tmp_path / "t.txt").write_text("red\n")
    assert predicted(str(tmp_path / "adapter"), tmp_path / "t.txt") == predicted(base, tmp_path / "t.txt")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if "layer.0" not in name}, file)
    with pytest.raises(ConfigError, match=r"adapter lacks weights \(base_model"):
        predicted(str(tmp_path / "adapter"), tmp_path / "t.txt")
    write_bert(tmp_path / "body", model_class=BertModel)
    save_file({name: tensor for name, tensor in tensors.items() if "classifier" not in name}, file)
    settings = tmp_path / "adapter" / "adapter_config.json"
    content = json.loads(settings.read_text()) | {
        "base_model_name_or_path": str(tmp_path / "body"),
        "modules_to_save": None,
    }
    settings.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"lacks .*weights .*classifier"):
        predicted(str(tmp_path / "adapter"), tmp_path / "t.txt")


def test_a_run_folder_stands_for_its_export(
    checkpoints: dict[str, str], photographs: Path, tmp_path: Path, predicted: Callable[..., Any]
) -> None:
    write_vit(tmp_path / "run" / "export")
    (tmp_path / "run" / "config.yaml").write_text("layout: 2\nrecipe: any\n")
    assert predicted(str(tmp_path / "run"), photographs) == predicted(checkpoints["vit"], photographs)


def test_what_can_not_be_predicted_says_why_in_one_line(
    checkpoints: dict[str, str], photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headless = write_bert(tmp_path / "headless", model_class=BertModel)
    config = json.loads((tmp_path / "headless" / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "headless" / "config.json").write_text(json.dumps(config))
    several = write_vit(tmp_path / "several", problem_type="multi_label_classification")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "none.csv").write_text("")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    good = {"model": checkpoints["vit"], "input": str(photographs), "output": str(tmp_path / "out" / "p.csv")}
    for flags, message in (
        (
            {"model": write_bert(tmp_path / "mlm", model_class=BertForMaskedLM)},
            "is a BertForMaskedLM, which has no head",
        ),
        (
            {"model": write_bert(tmp_path / "body", model_class=BertModel)},
            "is a BertModel, which has no head of a task",
        ),
        (
            {"model": headless, "input": str(tmp_path / "t.csv"), "column": "a"},
            "lacks trained weights (classifier.bias",
        ),
        ({"model": str(tmp_path / "nowhere")}, "does not exist: name a run folder, an export or a Hub id"),
        ({"model": str(tmp_path / "empty")}, "holds no model"),
        ({"input": str(tmp_path / "empty")}, "holds no images (.avif .bmp"),
        ({"input": str(photographs / "notes.txt")}, "the model reads images (.avif .bmp"),
        (
            {"input": str(tmp_path / "t.csv")},
            "has the columns a, b: name that of the images, or of their paths, with --col",
        ),
        ({"input": str(tmp_path / "t.csv"), "column": "c"}, "--column c is not in"),
        ({"input": str(tmp_path / "none.csv")}, "is empty"),
        ({"input": str(tmp_path / "bad.parquet")}, "cannot be read"),
        ({"column": "a"}, "--column has no effect"),
        ({"top_k": 4}, "--top_k 4 is more than the 3 labels"),
        ({"model": several, "top_k": 2}, "--top_k has no effect: the head gives several labels a row"),
    ):
        with pytest.raises(SystemExit) as stopped, reported():
            predict(PredictConfig(**(good | flags)))
        assert stopped.value.code == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    assert not (tmp_path / "out").exists()


def test_flags_that_can_not_work_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\nb\n")
    good = {"model": "any", "input": str(tmp_path / "t.csv"), "output": str(tmp_path / "p.csv")}
    for flags, message in (
        ({"model": None}, "--model"),
        ({"input": None}, "--input"),
        ({"input": str(tmp_path / "missing")}, "does not exist"),
        ({"output": str(tmp_path)}, "is a folder: name a file in it"),
        ({"output": str(tmp_path / "p.parquet")}, "must end in .csv or .jsonl"),
        ({"output": str(tmp_path / "t.csv" / "p.csv")}, "cannot be made"),
        ({"output": str(tmp_path / "t.csv")}, "would replace --input"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            PredictConfig(**(good | flags))


def test_a_stopped_prediction_leaves_the_file_that_was_there(
    checkpoints: dict[str, str], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.csv").write_text("before")

    def stop(self: Any, outputs: list[torch.Tensor], extra: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr("hfssl.predicting.classes.Classes.of", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(PredictConfig(model=checkpoints["vit"], input=str(photographs), output=str(tmp_path / "p.csv")))
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    assert (tmp_path / "p.csv").read_text() == "before"


def test_the_recipe_writes_the_file_and_names_what_is_bad(
    checkpoints: dict[str, str], photographs: Path, tmp_path: Path
) -> None:
    flags = ["--model", checkpoints["vit"], "--input", str(photographs), "--cpu_threads", "1"]
    done = run_recipe("predict", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "predictions.csv")
    assert len(rows) == 7
    assert {row["label"] for row in rows if not row["error"]} <= set(LABELS)
    assert "no prediction: 3.png cannot be read" in done.stdout
    assert "7 rows written to predictions.csv" in done.stdout
