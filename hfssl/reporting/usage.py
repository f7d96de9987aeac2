"""Code that gets features out of an export: a few lines that run as they stand, next to it."""

from hfssl.checkpoints.exports import Exported
from hfssl.models.pooler import without_pooler_of_type

_POOLED = {
    "cls": "hidden[:, 0]  # the class token",
    "mean": "hidden.mean(dim=1)  # all tokens",
    "mean_positions": "hidden.mean(dim=(2, 3))",
}
_BLANK = {1: 'Image.new("L", (64, 64))', 3: 'Image.new("RGB", (64, 64))'}


def usage(exported: Exported, name: str) -> str:
    """Python that loads the export `name` (a folder or a Hub id) and pools its features as the config records."""
    if exported.task == "feature-extraction":
        return _usage_of_speech(exported, name)
    if exported.task != "image-feature-extraction":
        return _usage_of_text(exported, name)
    known = exported.num_channels in _BLANK
    blank = _BLANK.get(exported.num_channels, f"torch.zeros({exported.num_channels}, 64, 64, dtype=torch.uint8)")
    layout = "" if known else ', input_data_format="channels_first"'
    lines = [
        "import torch",
        *(["from PIL import Image"] if known else []),
        "from transformers import AutoImageProcessor, AutoModel",
        "",
        f'processor = AutoImageProcessor.from_pretrained("{name}")',
        f"model = {opening(exported, name)}.eval()",
        f"image = {blank}  # your image",
        "with torch.inference_mode():",
        f'    hidden = model(**processor(images=image, return_tensors="pt"{layout})).last_hidden_state',
        f"features = {_pooled(exported)}",
        "print(features.shape)",
    ]
    return "\n".join(lines)


def _pooled(exported: Exported) -> str:
    if exported.pooling != "mean_patches":
        return _POOLED[exported.pooling or "mean"]
    others = "the class token and the registers" if exported.num_registers else "the class token"
    return f"hidden[:, {1 + exported.num_registers}:].mean(dim=1)  # all tokens but {others}"


def auto_class(exported: Exported) -> str:
    """The Auto class that opens the export for its features, or the base of an adapter, which names the layers with the head."""
    if exported.base is None:
        return "AutoModel"
    return "AutoModelForMaskedLM" if exported.task == "fill-mask" else "AutoModelForCausalLM"


def opening(exported: Exported, name: str) -> str:
    """The call that opens the export `name` for its features, without a pooler, which would be random."""
    options = "".join(f", {option}={value}" for option, value in without_pooler_of_type(exported.model_type).items())
    return f'{auto_class(exported)}.from_pretrained("{name}"{options})'


def _usage_of_speech(exported: Exported, name: str) -> str:
    lines = [
        "import numpy as np",
        "import torch",
        "from transformers import AutoFeatureExtractor, AutoModel, pipeline",
        "",
        f'extractor = AutoFeatureExtractor.from_pretrained("{name}")',
        f"model = {opening(exported, name)}.eval()",
        f"audio = np.zeros({exported.sampling_rate}, dtype=np.float32)  # your recording, one channel, "
        f"{exported.sampling_rate} samples a second",
        'inputs = extractor(audio, sampling_rate=extractor.sampling_rate, return_tensors="pt")',
        "with torch.inference_mode():",
        "    hidden = model(**inputs).last_hidden_state",
        "features = hidden.mean(dim=1)  # all frames of one recording",
        "print(features.shape)",
        "",
        "# the same frames by a pipeline, which asks for a tokenizer where the extractor belongs",
        f'frames = pipeline("feature-extraction", model="{name}", tokenizer=extractor)(audio)',
    ]
    return "\n".join(lines)


def _usage_of_text(exported: Exported, name: str) -> str:
    loader = auto_class(exported)
    adapter = exported.base is not None
    opened = "model=model, tokenizer=tokenizer" if adapter else f'model="{name}"'
    lines = [
        "import torch",
        *(["from peft import PeftConfig, PeftModel"] if adapter else []),
        f"from transformers import {loader}, AutoTokenizer, pipeline",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        *(_adapted(loader, name) if adapter else [f"model = {opening(exported, name)}.eval()"]),
        'inputs = tokenizer("your text", return_tensors="pt", return_token_type_ids=False)',
        "with torch.inference_mode():",
        f"    hidden = model{'.base_model' if adapter else ''}(**inputs).last_hidden_state",
        "features = hidden.mean(dim=1)  # of one text; of a padded batch, the mean over its tokens only",
        "print(features.shape)",
        "",
    ]
    if exported.task == "fill-mask":
        lines += [f'fill = pipeline("fill-mask", {opened})', 'print(fill(f"your {tokenizer.mask_token} here"))']
    else:
        lines += [f'write = pipeline("text-generation", {opened})', 'print(write("your text", max_new_tokens=20))']
    return "\n".join(lines)


def _adapted(loader: str, name: str) -> list[str]:
    """The adapter, merged into its base model."""
    return [
        "# an adapter, put into its base model: needs the package peft",
        f'base = PeftConfig.from_pretrained("{name}").base_model_name_or_path',
        f"model = {loader}.from_pretrained(base)",
        f'model = PeftModel.from_pretrained(model, "{name}").merge_and_unload().eval()',
    ]
