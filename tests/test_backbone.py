"""Any vision encoder of transformers: trained whole, initialised as meant, and handed back as a stock model."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    CLIPConfig,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.errors import ConfigError
from hfssl.evaluation.features import image_features, open_encoder
from hfssl.models.backbone import Backbone
from hfssl.models.pooling import pool, pooling_of
from hfssl.models.stock_encoder import encoder_class
from hfssl.nn.batch_norm import CrossRankBatchNorm
from hfssl.training.accelerator import start
from hfssl.training.step import train_step
from tests.support.backbones import KINDS, SIZE, Follower, backbone_of, config_of, parts_of, views
from tests.support.laboratory import differing, record_gradients, relative_error
from tests.support.ranks import Ranks

every_kind = pytest.mark.parametrize("kind", KINDS)
WITH_CLASS_TOKEN = ("vit", "deit", "beit", "dinov2", "dinov2_with_registers")


def trained(kinds: list[str], folder: Path | None) -> dict[str, dict[str, Tensor]]:
    """Three steps of each kind on this rank's share of 4 images; all tensors, and the main process's exports in `folder`."""
    from hfssl.distributed import is_main_process, rank, world_size

    accelerator = start(LoopConfig(max_steps=3, cpu_threads=1))
    share = 4 // world_size()
    results = {}
    for kind in kinds:
        objective = Follower(backbone_of(kind))
        parts = parts_of(objective, accelerator, OptimConfig())
        gradients = record_gradients(objective)
        for step in range(3):
            for group in parts.optimizer.param_groups:
                group["lr"] = 1e-3
            mine = slice(rank() * share, (rank() + 1) * share)
            batch = {name: images[mine] for name, images in views(4, step).items()}
            assert bool(train_step(parts, [batch], step=step, progress=step / 3, stop=False).applied)
            config = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
            assert config == gradients.keys(), kind
        accelerator.free_memory()
        results[kind] = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
        if folder is not None and is_main_process():
            objective.eval().export().model.save_pretrained(folder / kind)
            with torch.no_grad():
                results[kind]["features"] = objective.features(views(4, 9))
    return results


@pytest.fixture(scope="module")
def on_two_ranks(
    ranks: Ranks, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, dict[str, Tensor]]], Path]:
    folder = tmp_path_factory.mktemp("exports")
    return ranks.two(trained, KINDS, folder), folder


@every_kind
def test_three_steps_on_two_ranks_leave_equal_tensors_and_an_export_with_equal_features(
    kind: str, on_two_ranks: tuple[list[dict[str, dict[str, Tensor]]], Path]
) -> None:
    (first, second), folder = on_two_ranks
    mine = dict(first[kind])
    features = mine.pop("features")
    assert differing(mine, second[kind]) == []
    stranger = AutoModel.from_pretrained(folder / kind).eval()
    with torch.no_grad():
        hidden = stranger(pixel_values=views(4, 9)["first"]).last_hidden_state
    assert float((pool(hidden, pooling_of(stranger.config)) - features).abs().max()) <= 1e-5
    if kind != "mobilenet_v2":  # whose 52 BatchNorms still divide by the deviation of 1 that they start with
        assert float(features.std(dim=0).max()) > 1e-7
    recorded = stranger.config.hfssl_pooling
    assert recorded == ("mean_positions" if hidden.ndim == 4 else "cls" if kind in WITH_CLASS_TOKEN else "mean")


def gradients_of(kind: str) -> dict[str, Tensor]:
    from hfssl.distributed import rank, world_size

    accelerator = start(LoopConfig(max_steps=1, cpu_threads=1))
    objective = Follower(backbone_of(kind)).double()
    parts = parts_of(objective, accelerator, OptimConfig())
    gradients = record_gradients(objective)
    share = 4 // world_size()
    mine = slice(rank() * share, (rank() + 1) * share)
    batch = {name: images[mine].double() for name, images in views(4, 0).items()}
    train_step(parts, [batch], step=0, progress=0.0, stop=False)
    return gradients | {name: buffer for name, buffer in objective.named_buffers() if "running" in name}


def test_batch_norms_of_a_resnet_see_the_joined_batch(ranks: Ranks) -> None:
    first, second = ranks.two(gradients_of, "resnet")
    assert differing(first, second) == []
    assert relative_error(gradients_of("resnet"), first) <= 1e-10


@pytest.mark.parametrize("kind", ["dinov2_with_registers", "dinov3_vit"])
def test_the_mean_of_patches_leaves_out_class_token_and_registers(kind: str, tmp_path: Path) -> None:
    backbone = Backbone.build(config_of(kind), image_size=32, num_channels=3, pooling="mean_patches").eval()
    images = views(2, 0)["first"]
    with torch.no_grad():
        hidden = backbone.model(pixel_values=images).last_hidden_state
        features = backbone(images)
    num_patches = 16
    assert hidden.shape[1] > num_patches + 1
    assert torch.allclose(features, hidden[:, -num_patches:].mean(dim=1), atol=1e-6)
    backbone.export().save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = open_encoder(tmp_path, torch.device("cpu"))
    seen = image_features(encoder, [torch.full((3, 32, 32), 90, dtype=torch.uint8)])
    with torch.no_grad():
        whole = encoder.model(pixel_values=torch.full((1, 3, 32, 32), 90 / 127.5 - 1)).last_hidden_state
    assert seen == pytest.approx(whole[:, -num_patches:].mean(dim=1).numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", ["mobilenet_v2", "resnet"])
def test_running_moments_average_over_batches(kind: str) -> None:
    """Not those of the last batch alone, as a stock MobileNet's, which takes 0.997 of the newest."""
    backbone = backbone_of(kind)
    norm = next(module for module in backbone.modules() if isinstance(module, CrossRankBatchNorm))
    inputs: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    expected = norm.running_mean.clone()
    with torch.no_grad():
        for shift in (0.0, 1.0, 5.0):
            backbone(views(4, 0)["first"] + shift)
            expected = 0.9 * expected + 0.1 * inputs[-1].mean(dim=(0, 2, 3))
    assert torch.allclose(norm.running_mean, expected, atol=1e-6)


@every_kind
def test_an_export_is_a_stock_model_of_equal_state_and_its_own_storage(kind: str) -> None:
    backbone = backbone_of(kind)
    exported = backbone.export()
    assert type(exported) is encoder_class(exported.config)
    assert not any(isinstance(module, CrossRankBatchNorm) for module in exported.modules())
    assert exported.state_dict().keys() == backbone.model.state_dict().keys()
    assert differing(exported.state_dict(), backbone.model.state_dict()) == []
    own = {tensor.untyped_storage().data_ptr() for tensor in backbone.state_dict().values()}
    assert own.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in exported.state_dict().values())
    norms = [type(m) for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert set(norms) <= {CrossRankBatchNorm}
    assert backbone.has_batch_norm == bool(norms) == (kind in ("resnet", "regnet", "mobilenet_v2"))


def test_what_never_gets_a_gradient_is_frozen_and_nothing_else() -> None:
    frozen = {
        kind: {name for name, p in backbone_of(kind).model.named_parameters() if not p.requires_grad} for kind in KINDS
    }
    masked, last = {"embeddings.mask_token"}, {"layernorm.weight", "layernorm.bias"}
    tokens = dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), masked)
    assert frozen == {kind: set() for kind in KINDS} | tokens | {"convnext": last, "convnextv2": last}
    assert not any("pooler" in name for kind in KINDS for name in backbone_of(kind).state_dict())


@every_kind
def test_positions_and_tokens_start_distinct_and_small(kind: str) -> None:
    model = backbone_of(kind).model
    positions = 0
    for name, parameter in model.named_parameters():
        if "position_embeddings" in name or "position_bias_table" in name:
            rows = parameter.detach().flatten(0, -2)
            assert len(rows.unique(dim=0)) == len(rows), name
            assert bool((rows.abs().sum(dim=1) > 0).all()), name
            assert 0.01 < float(rows.std()) < 0.04, name
            positions += 1
        elif name.endswith(("_token", "_tokens")) and parameter.requires_grad:
            assert bool(parameter.any()), name
    assert (positions > 0) == (kind in ("vit", "deit", "vit_msn", "ijepa", "dinov2", "dinov2_with_registers", "swin"))


@pytest.mark.parametrize("kind", ["vit", "deit", "dinov2", "swin", "convnext"])
def test_linear_weights_start_at_the_papers_scale(kind: str) -> None:
    for name, module in backbone_of(kind).model.named_modules():
        if isinstance(module, nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.25), name
            assert module.bias is None or not bool(module.bias.any())


def test_convolutions_of_a_resnet_start_at_hes_scale() -> None:
    for name, module in backbone_of("resnet").model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight.shape[0] * module.weight.shape[2] * module.weight.shape[3]
            assert float(module.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.25), name


def test_building_disturbs_neither_the_random_state_nor_the_config() -> None:
    config = config_of("resnet")
    before = config.to_dict()
    torch.manual_seed(3)
    Backbone.build(config, image_size=SIZE, num_channels=3)
    after = torch.rand(3)
    torch.manual_seed(3)
    assert encoder_class(config)(copy.deepcopy(config)) is not None
    assert torch.equal(torch.rand(3), after)
    assert config.to_dict() == before
    backbone = backbone_of("resnet")
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert all(int(b) == 0 for name, b in backbone.named_buffers() if "num_batches" in name)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("convnext")])
def test_local_crops_are_taken(kind: str) -> None:
    backbone = backbone_of(kind)
    backbone.require_size(16)
    assert backbone.training
    assert backbone(torch.randn(4, 3, 16, 16)).shape == (4, backbone.width)
    assert backbone(torch.randn(4, 3, 48, 48)).shape == (4, backbone.width)


def test_a_size_that_can_not_be_taken_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"convnext model of this config does not take images of 16 px: .*another size"
    ):
        backbone_of("convnext").require_size(16)
    with pytest.raises(ConfigError, match="does not take images of 16 px"):
        Backbone.build(config_of("convnext"), image_size=16, num_channels=3)


def test_at_its_own_size_interpolation_changes_nothing() -> None:
    backbone = backbone_of("vit").eval()
    pixels = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(backbone(pixels), backbone.model(pixel_values=pixels).last_hidden_state[:, 0])


def test_pooling_follows_the_method_then_the_config_then_the_kind() -> None:
    pixels = torch.randn(2, 3, SIZE, SIZE)
    config = config_of("vit")
    config.hfssl_pooling = "mean_patches"
    for given, expected in ((None, "mean_patches"), ("mean", "mean")):
        backbone = Backbone.build(config, image_size=SIZE, num_channels=3, pooling=given).eval()
        hidden = backbone.model(pixel_values=pixels).last_hidden_state
        assert backbone.pooling == backbone.export().config.hfssl_pooling == expected
        assert torch.equal(backbone(pixels), hidden.mean(dim=1) if given else hidden[:, 1:].mean(dim=1))
    with pytest.raises(ConfigError, match="resnet gives feature maps, which have no tokens"):
        Backbone.build(config_of("resnet"), image_size=SIZE, num_channels=3, pooling="cls")


@every_kind
def test_gradient_checkpointing_gives_the_same_gradients_or_a_clear_error(kind: str) -> None:
    plain, recomputed = backbone_of(kind), backbone_of(kind)
    if not plain.model.supports_gradient_checkpointing:
        with pytest.raises(ConfigError, match=f"--gradient_checkpointing: a {kind} does not support it: leave it out"):
            recomputed.enable_gradient_checkpointing()
        return
    recomputed.enable_gradient_checkpointing()
    gradients = []
    for backbone in (plain, recomputed):
        torch.manual_seed(1)  # drop-path, and the jittered positions of DINOv3
        (backbone(views(2, 0)["first"]) ** 3).sum().backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
    assert relative_error(*gradients) <= 1e-5


@every_kind
def test_init_from_takes_every_tensor_of_the_same_kind(kind: str, tmp_path: Path) -> None:
    stored = backbone_of(kind)
    with torch.no_grad():
        for parameter in stored.parameters():
            parameter.normal_()
    stored.export().save_pretrained(tmp_path)
    backbone = backbone_of(kind)
    report = backbone.load_pretrained(str(tmp_path))
    assert report.loaded == sorted(backbone.model.state_dict())
    assert (report.new, report.unused) == ([], [])
    assert differing(backbone.state_dict(), stored.state_dict()) == []


def test_init_from_resizes_positions_and_names_what_is_new_unused_or_can_not_fit(tmp_path: Path) -> None:
    for kind in ("vit", "deit", "dinov2", "ijepa"):
        AutoModel.from_config(config_of(kind, image_size=48)).save_pretrained(tmp_path / kind)
        backbone = backbone_of(kind)
        report = backbone.load_pretrained(str(tmp_path / kind))
        assert report.loaded == sorted(backbone.model.state_dict())
        assert all("pooler" in name for name in report.unused)
    AutoModel.from_config(config_of("vit", hidden_size=32)).save_pretrained(tmp_path / "wider")
    with pytest.raises(ConfigError, match=r"does not fit: \(1, 1, 32\) in .*, \(1, 1, 16\) here"):
        backbone_of("vit").load_pretrained(str(tmp_path / "wider"))
    with pytest.raises(ConfigError, match="is a vit, the model to train a dinov2"):
        backbone_of("dinov2").load_pretrained(str(tmp_path / "vit"))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        backbone_of("vit").load_pretrained(str(tmp_path / "nothing"))
    ViTModel(config_of("vit", num_hidden_layers=1), add_pooling_layer=False).save_pretrained(tmp_path / "shallow")
    report = backbone_of("vit").load_pretrained(str(tmp_path / "shallow"))
    assert all(".1." in name for name in report.new)
    assert len(report.new) > 0


def test_a_masked_autoencoder_is_continued_as_the_vit_inside_it(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTMAEConfig(**sizes, image_size=SIZE, patch_size=8, decoder_hidden_size=8, decoder_num_attention_heads=2)
    stored = ViTMAEForPreTraining(config)
    stored.save_pretrained(tmp_path)
    backbone = Backbone.build(config, image_size=SIZE, num_channels=3)
    assert type(backbone.model) is ViTModel
    report = backbone.load_pretrained(str(tmp_path))
    assert report.new == []
    assert differing(backbone.model.state_dict(), stored.vit.state_dict()) == []
    assert all(name.startswith("decoder") for name in report.unused)


@pytest.mark.parametrize("config", [BertConfig(hidden_size=16, num_attention_heads=2), CLIPConfig()])
def test_what_reads_no_images_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"is a (bert|clip) model, which reads input_ids: name an image encoder"):
        Backbone.build(config, image_size=SIZE, num_channels=3)
