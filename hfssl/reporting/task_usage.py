"""Code that gets predictions out of a fine-tuned export: a few lines that run as they stand, next to it."""

from collections.abc import Sequence
from typing import NamedTuple

from hfssl.checkpoints.exports import Exported

_MOST_NAMES = 50
_RATE = 16_000


class _Opened(NamedTuple):
    """auto_class: what opens the model; processors: argument of `pipeline` -> what opens it; verb: the snippet's word for it."""

    auto_class: str
    processors: dict[str, str]
    verb: str


_IMAGE = {"image_processor": "AutoImageProcessor"}
_TEXT = {"tokenizer": "AutoTokenizer"}
_SPEECH = {"feature_extractor": "AutoFeatureExtractor"}
_OPENED = {
    "image-classification": _Opened("AutoModelForImageClassification", _IMAGE, "classify"),
    "text-classification": _Opened("AutoModelForSequenceClassification", _TEXT, "classify"),
    "audio-classification": _Opened("AutoModelForAudioClassification", _SPEECH, "classify"),
    "token-classification": _Opened("AutoModelForTokenClassification", _TEXT, "tag"),
    "automatic-speech-recognition": _Opened("AutoModelForCTC", _TEXT | _SPEECH, "transcribe"),
    "question-answering": _Opened("AutoModelForQuestionAnswering", _TEXT, "answer"),
}


def task_usage(exported: Exported, name: str, class_names: Sequence[str] | None, output_type: str | None) -> str:
    """Python that loads the export `name` (a folder or a Hub id) and asks it once.

    Args:
        class_names: in the order of their numbers; an adapter does not bring them along. output_type: what a prediction is.
    """
    opened = _OPENED[exported.task]
    lines = [] if exported.base is None else _adapted(opened, name, class_names, output_type)
    whole = [f'model = {opened.auto_class}.from_pretrained("{name}").eval()'] if exported.base is None else []
    if exported.task == "question-answering":
        lines += whole + _asked_for_span(name)
    elif exported.task == "image-classification" and exported.num_channels != 3:  # a pipeline makes every image RGB
        lines += whole + _of_other_channels(exported, name)
    else:
        lines += _by_pipeline(exported, name, output_type)
    return "\n".join([*_imports("\n".join(lines), opened), "", *lines])


def _imports(code: str, opened: _Opened) -> list[str]:
    """What the code uses, in the order that formatters keep."""
    words = (opened.auto_class, *opened.processors.values(), "pipeline")
    stock = sorted(word for word in words if f"{word}(" in code or f"{word}." in code)
    found = {
        "np.": "import numpy as np",
        "torch.": "import torch",
        "PeftModel.": "from peft import PeftConfig, PeftModel",
        "Image.new": "from PIL import Image",
    }
    return [line for use, line in found.items() if use in code] + [f"from transformers import {', '.join(stock)}"]


def _adapted(opened: _Opened, name: str, class_names: Sequence[str] | None, output_type: str | None) -> list[str]:
    """The adapter in its base model, whose own head, if any, is another."""
    lines = [
        "# an adapter and a head, put into the base model: needs the package peft",
        f'base = PeftConfig.from_pretrained("{name}").base_model_name_or_path',
    ]
    labels = ""
    if output_type == "numbers":
        labels = ', num_labels=1, problem_type="regression"'
    elif class_names is not None and len(class_names) <= _MOST_NAMES:
        lines.append(f"names = {list(class_names)!r}")
        labels = ", num_labels=len(names), id2label=dict(enumerate(names))"
    elif class_names is not None:
        labels = f", num_labels={len(class_names)}"
    elif "tokenizer" in opened.processors and "feature_extractor" in opened.processors:
        lines.append(f'tokenizer = AutoTokenizer.from_pretrained("{name}")')
        labels = ", vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id"
    opening = f"model = {opened.auto_class}.from_pretrained(base{labels}, ignore_mismatched_sizes=True)"
    return [*lines, opening, f'model = PeftModel.from_pretrained(model, "{name}").merge_and_unload().eval()']


def _by_pipeline(exported: Exported, name: str, output_type: str | None) -> list[str]:
    opened = _OPENED[exported.task]
    model = f'model="{name}"'
    if exported.base is not None:
        parts = [f'{part}={loader}.from_pretrained("{name}")' for part, loader in opened.processors.items()]
        model = ", ".join(["model=model", *parts])
    options = {"token-classification": ', aggregation_strategy="simple"'}.get(exported.task, "")
    asks = ', function_to_apply="none"' if output_type == "numbers" else ""
    sample = _sample(exported)
    return [
        f'{opened.verb} = pipeline("{exported.task}", {model}{options})',
        *sample,
        f"print({opened.verb}({'sample' if sample else repr('your text')}{asks}))",
    ]


def _sample(exported: Exported) -> list[str]:
    if exported.task == "image-classification":
        return ['sample = Image.new("RGB", (64, 64))  # your image']
    if exported.task in ("audio-classification", "automatic-speech-recognition"):
        rate = exported.sampling_rate or _RATE
        line = f"sample = np.zeros({rate}, dtype=np.float32)  # your recording, one channel, {rate} samples a second"
        return [line]
    return []


def _of_other_channels(exported: Exported, name: str) -> list[str]:
    is_grey = exported.num_channels == 1
    blank = (
        'Image.new("L", (64, 64))' if is_grey else f"torch.zeros({exported.num_channels}, 64, 64, dtype=torch.uint8)"
    )
    layout = "" if is_grey else ', input_data_format="channels_first"'
    return [
        f'processor = AutoImageProcessor.from_pretrained("{name}")',
        f"sample = {blank}  # your image",
        "with torch.inference_mode():",
        f'    logits = model(**processor(images=sample, return_tensors="pt"{layout})).logits',
        "print(model.config.id2label[logits.argmax().item()])",
    ]


def _asked_for_span(name: str) -> list[str]:
    return [
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        'question, context = "your question", "a text that holds the answer, short enough for the model"',
        'inputs = tokenizer(question, context, return_tensors="pt")',
        "with torch.inference_mode():",
        "    output = model(**inputs)",
        "start, end = output.start_logits.argmax(), output.end_logits.argmax()",
        "print(tokenizer.decode(inputs.input_ids[0, start : end + 1]))",
    ]
