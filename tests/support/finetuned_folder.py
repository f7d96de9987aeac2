"""Run folders of fine-tunings made by hand, and tiny exports of every task, for what is written from a run folder alone."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Processor,
)

from hfssl.checkpoints.exports import write_export
from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.evaluation.classification import classification_summary
from hfssl.models.lora import Adapter, with_adapter
from hfssl.models.lora_settings import LoraSettings
from hfssl.objective import Export
from hfssl.run_dir import RunDir
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from tests.support.run_folder import environment, training_row

CLASSES = ("ant", "bee", "cow")
PICTURES = ("loss", "scores", "confusion", "calibration", "mistakes")
NOTE = "made here: 90 rows for training and 10 rows for validation (by class, seed 0)"


def begun_task(path: Path, argv: Sequence[str] = (), classes: Sequence[str] = CLASSES) -> RunDir:
    """A fine-tuning that was killed after step 20."""
    run_dir = RunDir(path)
    flags = ["--config", "frozen", "--max_steps", "40", "--dataset", "demo:digits", "--model", "someone/vit"]
    run = parse(ImageClassificationConfig, ImageDataConfig, [*flags, "--output_dir", str(path), *argv])
    stored = run.stored()
    stored["method"]["class_names"] = list(classes)
    stored["loop"]["init_from"] = run.method.model
    if Path(str(run.method.model)).exists():
        stored["local"].append("init_from")
    run_dir.write_config(stored)
    run_dir.write_environment(environment(f"python recipes/finetune.py --output_dir {path}"))
    for step in (0, 10, 20):
        run_dir.append_metrics({"step": step, "validation/loss": 2.0, "validation/accuracy": 0.3 + step / 100})
        if step:
            run_dir.append_metrics(training_row(step))
    return run_dir


def finished_task(path: Path, argv: Sequence[str] = (), classes: Sequence[str] = CLASSES, test: bool = True) -> RunDir:
    """With its scores, if `test`, its pictures and an export."""
    run_dir = begun_task(path, argv, classes)
    run_dir.figures.mkdir()
    for shade, name in enumerate(PICTURES if test else PICTURES[:2]):
        Image.new("RGB", (12, 9), (200, 30, 20 * shade)).save(run_dir.figures / f"{name}.png")
    write_export(Export(*image_classifier()), run_dir.export)
    summary = {
        "data": "demo:digits",
        "notes": [NOTE],
        "rows": [],
        "output_type": "classes",
        "train_rows": 90,
        "steps": 20,
    }
    summary |= {"samples_seen": 1280, "best_step": 10, "best_score": 0.4375, "chosen_by": "accuracy", "warnings": []}
    if test:
        scores = class_summary(classes) | {"matthews_correlation": 0.6125, "unreadable_rows": 0}
        summary |= {"scores": scores, "test_rows": 60, "test_split": "test"}
    run_dir.write_summary(summary)
    return run_dir


def class_summary(classes: Sequence[str], num_rows: int = 60) -> dict[str, Any]:
    """Of a classifier that takes every fifth row for the next class."""
    labels_M = np.arange(num_rows) % len(classes)
    said_M = np.where(np.arange(num_rows) % 5 == 0, (labels_M + 1) % len(classes), labels_M)
    probabilities_MC = np.full((num_rows, len(classes)), 0.1)
    probabilities_MC[np.arange(num_rows), said_M] = 1 - 0.1 * (len(classes) - 1)
    return classification_summary(probabilities_MC, labels_M, list(classes))


_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def _labels(names: Sequence[str] = CLASSES) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def image_classifier(num_channels: int = 3) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = ViTConfig(image_size=8, patch_size=4, num_channels=num_channels, **_SMALL, **_labels())
    statistics = {"image_mean": [0.5] * num_channels, "image_std": [0.5] * num_channels}
    return ViTForImageClassification(config).eval(), ViTImageProcessor(size={"height": 8, "width": 8}, **statistics)


def adapter_folder(folder: Path, tag: str = "image-classification") -> tuple[Path, Any]:
    """(export of an adapter with a head of its own, the adapted model in memory); its base tells other classes apart."""
    whole, processor = model_of(tag, folder)
    other = copy.deepcopy(whole.config)
    if tag != "automatic-speech-recognition":
        other.num_labels = 2
    type(whole)(other).save_pretrained(folder / "base")
    model = type(whole).from_pretrained(folder / "base", config=whole.config, ignore_mismatched_sizes=True)
    model.name_or_path = str(folder / "base")
    head = "lm_head" if tag == "automatic-speech-recognition" else "classifier"
    with_adapter(model, LoraSettings(lora=True, lora_rank=2), modules_to_save=[head])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    write_export(Export(Adapter(model), processor), folder / "export")
    return folder / "export", model.eval()


def text_model(model_class: Any, **labels: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    words = ("[PAD]", "[UNK]", "your", "text", "question", "a", "that", "holds", "the", "answer")
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")
    config = BertConfig(vocab_size=len(words), max_position_embeddings=64, **_SMALL, **labels)
    return model_class(config).eval(), tokenizer


def speech_model(model_class: Any, folder: Path) -> tuple[Any, Any]:
    torch.manual_seed(0)
    convolutions = {"conv_dim": (8, 8), "conv_stride": (20, 16), "conv_kernel": (20, 16)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    sizes = {"classifier_proj_size": 8, "vocab_size": 5, "pad_token_id": 0, "num_feat_extract_layers": 2}
    is_ctc = model_class is Wav2Vec2ForCTC
    config = Wav2Vec2Config(**_SMALL, **convolutions, **positions, **sizes, **({} if is_ctc else _labels()))
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8_000)
    if not is_ctc:
        return model_class(config).eval(), extractor
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text('{"<pad>": 0, "<unk>": 1, "|": 2, "a": 3, "b": 4}')
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json", pad_token="<pad>", bos_token=None, eos_token=None)
    return model_class(config).eval(), Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


def model_of(tag: str, folder: Path) -> tuple[Any, Any]:
    """(a tiny model with random weights, its processor) of a pipeline tag."""
    made = {
        "text-classification": lambda: text_model(BertForSequenceClassification, **_labels()),
        "token-classification": lambda: text_model(BertForTokenClassification, **_labels(["O", "B-x", "I-x"])),
        "question-answering": lambda: text_model(BertForQuestionAnswering),
        "audio-classification": lambda: speech_model(Wav2Vec2ForSequenceClassification, folder / "made"),
        "automatic-speech-recognition": lambda: speech_model(Wav2Vec2ForCTC, folder / "made"),
        "image-classification": image_classifier,
    }
    return made[tag]()
