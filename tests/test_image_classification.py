"""An image classifier: its loss, its blends, what is frozen, adapted or decayed, and the stock model that comes out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    ConvNextConfig,
    Dinov2Config,
    MobileNetV2Config,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
    pipeline,
)

from hfssl.checkpoints.exports import write_export
from hfssl.data.head_inputs import HeadInputsPipeline
from hfssl.data.images.labelled import Blend, LabelledImages
from hfssl.errors import ConfigError
from hfssl.models.image_classifier import classifier_config, fresh_classifier, load_body
from hfssl.models.layer_decay import decayed_groups, depths_of
from hfssl.tasks.image_classification.objective import ImageClassification
from hfssl.training.loop import Session
from hfssl.training.step import train_step
from tests.support.finetuning import open_task, ready, write_encoder
from tests.support.laboratory import few_rows, steps_of


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def patch_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("patch_encoder"), "mean_patches")


def first_batch(opened: Session) -> dict[str, torch.Tensor]:
    [[batch]] = steps_of(opened, 1)
    return opened.rows.pipeline.augment(batch, 0.0)


def moved(opened: Session, num_steps: int = 3) -> None:
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, num_steps)):
        parts.optimizer.param_groups[0]["lr"] = 0.05
        for group in parts.optimizer.param_groups:
            group["lr"] = 0.05
        train_step(parts, batches, step=step, progress=step / 6, stop=False)


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def task_of(opened: Session) -> ImageClassification:
    assert isinstance(opened.objective, ImageClassification)
    return opened.objective


def test_loss_and_gradients_are_the_stock_classifiers(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path, encoder)
    batch, task = first_batch(opened), task_of(opened).eval()
    stock = AutoModelForImageClassification.from_config(task.model.config)
    stock.load_state_dict(task.model.state_dict())
    stock.eval()
    expected = stock(pixel_values=batch["pixel_values"], labels=batch["labels"]).loss
    output = task(batch, 0.0)
    torch.testing.assert_close(output.loss_sum / output.num_targets, expected)
    (output.loss_sum / output.num_targets).backward()
    expected.backward()
    for (name, ours), theirs in zip(task.model.named_parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_the_body_is_the_checkpoints_and_the_head_is_new(encoder: Path, tmp_path: Path) -> None:
    task = task_of(open_task(tmp_path, encoder))
    body = ViTModel.from_pretrained(encoder, add_pooling_layer=False)
    for name, tensor in body.state_dict().items():
        assert torch.equal(task.model.vit.state_dict()[name], tensor), name
    report = task.load_pretrained(str(encoder))
    assert sorted(report.new) == ["classifier.bias", "classifier.weight"]
    assert report.unused == []


@pytest.mark.parametrize("pooling", ["mean_patches", "cls"])
def test_what_the_head_reads_is_what_the_encoder_pools(pooling: str, tmp_path: Path) -> None:
    """A probe on the features and a head on the body see the same numbers, so frozen fine-tuning is a linear probe."""
    folder = write_encoder(tmp_path / "encoder", pooling)
    opened = open_task(tmp_path / "run", folder, {"adaptation": "frozen"})
    stranger = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    source = few_rows().part(np.arange(8))
    pipeline = opened.rows.pipeline
    assert isinstance(pipeline, HeadInputsPipeline)
    inputs = torch.stack([pipeline.prepare(source)[row][0] for row in range(8)])
    images = [pipeline.whole.whole_examples(source)[row][0] for row in range(8)]
    with torch.no_grad():
        hidden = stranger(**processor(images, return_tensors="pt", input_data_format="channels_first"))
    tokens = hidden.last_hidden_state
    if pooling == "cls":
        torch.testing.assert_close(inputs, tokens[:, 0], rtol=1e-4, atol=1e-5)
    else:  # its norm follows the mean, where the encoder's comes before: the same direction
        width = stranger.config.hidden_size
        before = torch.cosine_similarity(inputs, tokens[:, 1:].mean(dim=1))
        assert inputs.shape == (8, width)
        assert before.min() > 0.9


def test_frozen_training_reads_the_cache_and_leaves_the_body_alone(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path, encoder, {"adaptation": "frozen"})
    task = task_of(opened)
    before = tensors(task.model)
    [[batch]] = steps_of(opened, 1)
    assert "pixel_values" not in batch
    examples = opened.rows.pipeline.whole.whole_examples(few_rows())  # type: ignore[attr-defined]
    whole = opened.rows.pipeline.whole.eval_transform([examples[row] for row in batch["sample_ids"].tolist()])  # type: ignore[attr-defined]
    with torch.no_grad():
        torch.testing.assert_close(task.eval().logits(batch), task.logits(whole), rtol=1e-4, atol=1e-5)
    moved(opened)
    assert not task.model.vit.training
    changed = {name for name, tensor in task.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_features_are_computed_once_for_all_runs(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_task(tmp_path / "a", encoder, {"adaptation": "frozen"})

    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(HeadInputsPipeline, "_write", never)
    open_task(tmp_path / "b", encoder, {"adaptation": "frozen"}, seed=1)
    other = write_encoder(tmp_path / "other", initializer_range=0.5, num_hidden_layers=1)
    with pytest.raises(AssertionError, match="computed again"):
        open_task(tmp_path / "c", other, {"adaptation": "frozen"})


def test_a_bad_row_stays_bad_in_the_cache(encoder: Path, tmp_path: Path) -> None:
    from hfssl.objective import BadRowError

    opened = open_task(tmp_path / "run", encoder, {"adaptation": "frozen"})
    pipeline = opened.rows.pipeline
    assert isinstance(pipeline, HeadInputsPipeline)

    class OneBroken(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            if index == 1:
                raise BadRowError("broken")
            return super().__getitem__(index)

    whole = pipeline.whole.whole_examples(few_rows().part(np.arange(3)))
    folder = tmp_path / "cache"
    folder.mkdir()
    pipeline._write(folder, OneBroken([whole[row] for row in range(3)]))
    from hfssl.data.head_inputs import StoredInputs

    stored = StoredInputs(folder)
    torch.testing.assert_close(stored[2], opened.rows.examples[2][0])
    with pytest.raises(BadRowError):
        stored[1]


@pytest.mark.versions
def test_an_adapter_loads_as_peft_saved_it_and_merged_is_unmerged(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path / "run", encoder, {"adaptation": "lora", "lora_rank": 4})
    task = task_of(opened)
    body = {name: tensor for name, tensor in tensors(task.model).items() if "base_layer" in name}
    assert body
    moved(opened)
    assert all(torch.equal(task.model.state_dict()[name], tensor) for name, tensor in body.items())
    task.eval()
    batch = first_batch(opened)
    logits = task.logits(batch).detach()
    write_export(task.export(), tmp_path / "export")
    base = ViTForImageClassification.from_pretrained(encoder, num_labels=10).eval()
    stranger = PeftModel.from_pretrained(base, tmp_path / "export").eval()
    torch.testing.assert_close(stranger(pixel_values=batch["pixel_values"]).logits, logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(base.classifier.original_module.weight, base.classifier.modules_to_save.default.weight)
    from hfssl.models.lora import merged

    whole = merged(task.model)
    assert type(whole) is ViTForImageClassification
    torch.testing.assert_close(whole(pixel_values=batch["pixel_values"]).logits, logits, rtol=1e-5, atol=1e-5)


def test_an_adapter_that_would_fit_no_published_model_is_refused(patch_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="add --merge"):
        open_task(tmp_path, patch_encoder, {"adaptation": "lora"})
    opened = open_task(tmp_path, patch_encoder, {"adaptation": "lora", "merge": True})
    moved(opened)
    write_export(opened.objective.eval().export(), tmp_path / "export")
    stranger = AutoModelForImageClassification.from_pretrained(tmp_path / "export").eval()
    batch = first_batch(opened)
    torch.testing.assert_close(
        stranger(pixel_values=batch["pixel_values"]).logits, task_of(opened).logits(batch), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("pooling", ["mean_patches", "cls"])
def test_a_pipeline_gives_our_probabilities(pooling: str, tmp_path: Path) -> None:
    opened = open_task(tmp_path / "run", write_encoder(tmp_path / "encoder", pooling))
    moved(opened)
    write_export(opened.objective.eval().export(), tmp_path / "export")
    classify = pipeline("image-classification", str(tmp_path / "export"), top_k=10)
    data_pipeline = opened.rows.pipeline
    examples = data_pipeline.whole_examples(few_rows())
    batch = data_pipeline.eval_transform([examples[row] for row in range(4)])
    ours = task_of(opened).logits(batch).softmax(dim=1).detach()
    from torchvision.transforms.v2.functional import to_pil_image

    for row in range(4):
        said = classify(to_pil_image(examples[row][0]))
        for one in said:
            assert abs(one["score"] - float(ours[row, int(one["label"])])) < 2e-3  # PIL resizes, torchvision elsewhere


def spec_with(blend: Blend) -> tuple[LabelledImages, Any]:
    from hfssl.data.images.config import ImageDataConfig
    from hfssl.tasks.image_classification.config import ImageClassificationConfig

    views = ImageClassificationConfig(augmentation="plain", crop_scale=(1.0, 1.0), horizontal_flip_probability=0.0)
    pipeline = LabelledImages(ImageDataConfig.tiny(), views.views(8), [str(digit) for digit in range(10)], blend)
    return pipeline, pipeline.prepare(few_rows())


def blended(blend: Blend, ids: list[int]) -> dict[str, torch.Tensor]:
    from hfssl.data.loader import KeyedDataset

    pipeline, examples = spec_with(blend)
    numbers = torch.tensor(ids)
    batch = KeyedDataset(examples, pipeline, seed=3).__getitems__((torch.zeros_like(numbers), numbers))
    del batch["bad_ids"]
    return pipeline.augment(batch, 0.0)


@pytest.mark.parametrize("blend", [Blend(mixup=0.4), Blend(cutmix=1.0), Blend(mixup=0.4, cutmix=1.0)])
def test_blended_pixels_follow_their_shares(blend: Blend) -> None:
    ids = list(range(24))
    plain, mixed = blended(Blend(), ids), blended(blend, ids)
    assert torch.equal(plain["labels"], mixed["labels"])
    pipeline, examples = spec_with(Blend())
    whole = {int(row): pipeline.eval_transform([examples[row]])["pixel_values"][0] for row in range(40)}
    shares = mixed["shares"]
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares.std() > 0.1
    kinds = set()
    for row in range(24):
        own, found = plain["pixel_values"][row], mixed["pixel_values"][row]
        candidates = [
            image for index, image in whole.items() if examples[index][1] == int(mixed["partner_labels"][row])
        ]
        share = float(shares[row])
        as_mixup = min(float((found - share * own - (1 - share) * image).abs().max()) for image in candidates)
        pasted = [(found != own).any(dim=0) for _ in candidates]
        as_cutmix = min(float((found - torch.where(found == own, own, image)).abs().max()) for image in candidates)
        assert min(as_mixup, as_cutmix) < 1e-4, row
        if as_cutmix < 1e-4 <= as_mixup:
            kinds.add("cutmix")
            assert float(pasted[0].float().mean()) <= 1 - share + 1e-6
        elif as_mixup < 1e-4 <= as_cutmix:
            kinds.add("mixup")
    assert kinds == {name for name in ("mixup", "cutmix") if getattr(blend, name)}


def test_a_blend_does_not_depend_on_the_batch() -> None:
    blend = Blend(mixup=0.4, cutmix=1.0)
    together, alone = blended(blend, [5, 6, 7]), blended(blend, [6])
    for name in ("pixel_values", "shares", "partner_labels"):
        torch.testing.assert_close(together[name][1:2], alone[name], msg=name)


def test_the_loss_of_a_blend_is_that_of_both_labels(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path, encoder, {"mixup": 0.4, "label_smoothing": 0.1})
    batch, task = first_batch(opened), task_of(opened).eval()
    logits = task.logits(batch)
    smooth = {"label_smoothing": 0.1, "reduction": "none"}
    own = cross_entropy(logits, batch["labels"], **smooth)  # type: ignore[arg-type]
    other = cross_entropy(logits, batch["partner_labels"], **smooth)  # type: ignore[arg-type]
    expected = (batch["shares"] * own + (1 - batch["shares"]) * other).sum()
    torch.testing.assert_close(task(batch, 0.0).loss_sum, expected)


def test_balanced_weights_give_each_class_the_same_say(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path, encoder, {"class_weights": "balanced"})
    task = task_of(opened).eval()
    labels = few_rows().labels()
    assert labels is not None
    counts = np.bincount(labels, minlength=10)
    torch.testing.assert_close(
        task.class_weights_C * torch.from_numpy(counts), torch.full((10,), 4.0), check_dtype=False
    )
    batch = first_batch(opened)
    expected = cross_entropy(task.logits(batch), batch["labels"], weight=task.class_weights_C)
    output = task(batch, 0.0)
    torch.testing.assert_close(output.loss_sum / output.num_targets, expected)


SMALL = {
    "vit": ViTConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32),
    "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    "convnext": ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]),
    "dinov2": Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8),
    "mobilenet": MobileNetV2Config(depth_multiplier=0.1),
    "swin": SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2, image_size=32),
}


@pytest.mark.parametrize("kind", list(SMALL))
def test_learning_rates_fall_towards_the_input(kind: str) -> None:
    model = fresh_classifier(classifier_config(SMALL[kind], ["a", "b"], None), 32)
    names = [name for name, _ in model.named_parameters()]
    depths = depths_of(names)
    top = max(depths.values())
    assert depths[names[0]] == 0
    assert top >= 3
    assert all(depths[name] == top for name in names if name.startswith("classifier"))
    groups = decayed_groups(model.named_parameters(), weight_decay=1.0, decay=0.5)
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted(id(one) for one in model.parameters() if one.requires_grad)
    scales = sorted({group["lr_scale"] for group in groups})
    assert scales[-1] == 1.0
    assert scales[0] == 0.5**top
    seen = [depths[name] for name in names if "mask_token" not in name]
    assert seen == sorted(seen)


@pytest.mark.parametrize("kind", list(SMALL))
def test_any_backbone_becomes_a_classifier(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    torch.manual_seed(0)
    options = {"add_pooling_layer": False} if kind == "vit" else {}
    AutoModel.from_config(SMALL[kind], **options).save_pretrained(tmp_path)
    model = fresh_classifier(classifier_config(AutoConfig.from_pretrained(tmp_path), ["a", "b"], None), 32)
    report = load_body(model, str(tmp_path), SMALL[kind].model_type)
    assert set(report.new) == {name for name in model.state_dict() if name.startswith("classifier")}
    loss = model.train()(pixel_values=torch.randn(4, 3, 32, 32)).logits.square().sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
        assert not (name.endswith("position_embeddings") and not bool(parameter.any())), name


def test_paths_are_dropped_where_the_class_can(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path, encoder, {"drop_path": 0.3})
    assert task_of(opened).model.config.model_type == "beit"
    batch = first_batch(opened)
    task = task_of(opened)
    task.eval()
    still = task.logits(batch)
    torch.testing.assert_close(still, task.logits(batch))
    plain = task_of(open_task(tmp_path, encoder)).eval()
    weights = plain.model.classifier.state_dict()
    task.model.classifier.load_state_dict(weights)
    torch.testing.assert_close(task.logits(batch), plain.logits(batch), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="drops no paths"):
        classifier_config(SMALL["resnet"], ["a", "b"], 0.1)


def test_a_checkpoint_of_another_modality_is_named(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path / "text")
    with pytest.raises(ConfigError, match="bert"):
        open_task(tmp_path / "run", tmp_path / "text")
