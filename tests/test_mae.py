"""What makes a masked autoencoder right."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTMAEConfig, ViTMAEForPreTraining, ViTModel
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from hfssl.errors import ConfigError
from hfssl.methods.mae.objective import MAE
from hfssl.nn.positions import resize_positions, sincos_2d
from tests.support.laboratory import Session, open_small, steps_of


def augmented(opened: Session) -> dict[str, torch.Tensor]:
    return opened.rows.pipeline.augment(steps_of(opened, 1)[0][0], 0.0)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_loss_equals_the_stock_class_on_the_same_weights_and_noise(norm_pix_loss: bool, tmp_path: Path) -> None:
    opened = open_small("mae", tmp_path, method={"norm_pix_loss": norm_pix_loss})
    batch = augmented(opened)
    stock = ViTMAEForPreTraining(opened.objective.model.config)
    stock.load_state_dict(opened.objective.model.state_dict())
    ours = opened.objective(batch, 0.0)
    theirs = stock(batch["pixel_values"], noise=batch["noise"])
    assert float((ours.loss_sum / ours.num_targets - theirs.loss).detach().abs()) <= 1e-5
    assert int(ours.num_targets) == int(theirs.mask.sum()) == 8 * 12


def test_loss_equals_the_formula_of_the_paper(tmp_path: Path) -> None:
    opened = open_small("mae", tmp_path, method={"norm_pix_loss": True})
    batch = augmented(opened)
    with torch.no_grad():
        output = opened.objective.model(batch["pixel_values"], noise=batch["noise"])
    total, count = 0.0, 0
    for image, predicted, noise in zip(batch["pixel_values"], output.logits, batch["noise"], strict=True):
        hidden = noise.argsort()[4:].tolist()  # a quarter of 16 patches is seen: those of the smallest noise
        for patch in hidden:
            row, column = divmod(patch, 4)
            pixels = image[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].permute(1, 2, 0).flatten()
            target = (pixels - pixels.mean()) / (pixels.var(unbiased=True) + 1e-6).sqrt()
            total += float((predicted[patch] - target).square().mean())
            count += 1
    with torch.no_grad():
        ours = opened.objective(batch, 0.0)
    assert float(ours.loss_sum / ours.num_targets) == pytest.approx(total / count, rel=1e-5)


def test_seen_patches_do_not_count_and_hidden_ones_are_not_seen(tmp_path: Path) -> None:
    model = open_small("mae", tmp_path).objective.model.eval()
    pixels, noise = torch.randn(2, 3, 8, 8), torch.rand(2, 16)
    output = model(pixels, noise=noise)
    patches = model.patchify(pixels)
    hidden = output.mask[:, :, None]
    other = model.unpatchify(torch.where(hidden > 0, torch.randn_like(patches), patches))
    assert torch.equal(model(other, noise=noise).logits, output.logits)  # predictions come from seen patches alone
    loss = ((output.logits - patches).square().mean(2) * output.mask).sum() / output.mask.sum()
    assert float(output.loss.detach()) == pytest.approx(float(loss.detach()), rel=1e-6)


def test_a_mask_hides_three_quarters_and_every_patch_equally_often(tmp_path: Path) -> None:
    pipeline = MAE.data_pipeline(open_small("mae", tmp_path).run.method, open_small("mae", tmp_path).run.data, None)
    noise = pipeline._draw(torch.randint(-(2**62), 2**62, (20_000,)))["noise"]
    seen = (noise.argsort(dim=1).argsort(dim=1) < 4).double().mean(dim=0).numpy()
    assert np.abs(seen - 0.25).max() < 5 * (0.25 * 0.75 / 20_000) ** 0.5


def test_initialisation_is_the_papers_and_not_the_stock_one(tmp_path: Path) -> None:
    method = {"hidden_size": 64, "decoder_hidden_size": 32}
    model = open_small("mae", tmp_path, method=method).objective.model
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert not positions.requires_grad
        assert len(positions[0].unique(dim=0)) == 17
        assert not bool(positions[0, 0].any())
        assert bool((positions[0, 1:].abs().sum(dim=1) > 0).all())
    for module in model.modules():
        if isinstance(module, nn.Linear):
            fan_out, fan_in = module.weight.shape
            assert float(module.weight.detach().std()) == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.08)
            assert not bool(module.bias.any())
    projection = model.vit.embeddings.patch_embeddings.projection.weight.detach()
    assert float(projection.std()) == pytest.approx((2 / (64 + 3 * 2 * 2)) ** 0.5, rel=0.1)
    for token in (model.vit.embeddings.cls_token, model.decoder.mask_token):
        assert 0.01 < float(token.detach().std()) < 0.03


def test_the_stock_initialisation_still_needs_correcting() -> None:
    stock = ViTMAEForPreTraining(ViTMAEConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8))
    assert not bool(stock.decoder.decoder_pos_embed.any()), "transformers sets positions now: initialise() may go"


def test_positions_are_laid_out_as_in_the_published_checkpoints() -> None:
    theirs = build_2d_sinusoidal_position_embedding(5, 5, 16, cls_token=True)
    swapped = torch.cat([theirs[:, 8:], theirs[:, :8]], dim=1)
    assert float((sincos_2d(16, 5)[0] - swapped).abs().max()) < 1e-6


def test_resized_positions_keep_the_token_and_the_grid() -> None:
    positions = sincos_2d(16, 4)
    assert torch.allclose(resize_positions(positions, 4), positions, atol=1e-6)
    larger = resize_positions(positions, 8)
    assert larger.shape == (1, 65, 16)
    assert torch.equal(larger[:, 0], positions[:, 0])


@pytest.mark.parametrize("kind", ["vit_mae", "vit"])
def test_init_from_takes_every_tensor_that_fits(kind: str, tmp_path: Path) -> None:
    objective = open_small("mae", tmp_path).objective
    config = objective.model.config.to_dict() | {"image_size": 8}
    torch.manual_seed(1)
    if kind == "vit_mae":
        stored = ViTMAEForPreTraining(ViTMAEConfig(**config))
        prefix = ""
    else:
        names = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "image_size",
            "patch_size",
        )
        stored = ViTModel(ViTConfig(**{name: config[name] for name in names}))
        prefix = "vit."
    stored.save_pretrained(tmp_path / "stored")
    report = objective.load_pretrained(str(tmp_path / "stored"))
    own = objective.model.state_dict()
    taken = {prefix + name: tensor for name, tensor in stored.state_dict().items() if "pooler" not in name}
    assert sorted(taken) == report.loaded
    assert all(torch.equal(own[name], tensor) for name, tensor in taken.items())
    assert sorted(own.keys() - taken.keys()) == report.new
    assert (report.new == []) == (kind == "vit_mae")
    assert all("pooler" in name for name in report.unused)


def test_init_from_another_size_interpolates_positions_and_names_what_can_not_fit(tmp_path: Path) -> None:
    objective = open_small("mae", tmp_path).objective
    config = objective.model.config.to_dict()
    larger = ViTMAEForPreTraining(ViTMAEConfig(**config | {"image_size": 12}))
    larger.save_pretrained(tmp_path / "larger")
    assert len(objective.load_pretrained(str(tmp_path / "larger")).loaded) == len(objective.model.state_dict())
    wider = ViTMAEForPreTraining(ViTMAEConfig(**config | {"hidden_size": 32}))
    wider.save_pretrained(tmp_path / "wider")
    with pytest.raises(ConfigError, match=r"does not fit: \(12, 32\) in .*, \(12, 16\) here"):
        objective.load_pretrained(str(tmp_path / "wider"))


def test_compiling_compiles_and_keeps_names_and_losses(tmp_path: Path) -> None:
    import torch._dynamo as dynamo

    opened = open_small("mae", tmp_path)
    batch = augmented(opened)
    plain = opened.objective(batch, 0.0)
    names = list(opened.objective.state_dict())
    dynamo.reset()
    dynamo.utils.counters.clear()
    opened.objective.compile(backend="aot_eager")
    for progress in (0.0, 0.1, 0.2):
        compiled = opened.objective(batch, progress)
    assert dynamo.utils.counters["frames"]["ok"] > 0
    assert list(opened.objective.state_dict()) == names
    assert float(compiled.loss_sum.detach()) == pytest.approx(float(plain.loss_sum.detach()), rel=1e-5)


def test_pictures_show_the_original_the_seen_and_the_reconstruction(tmp_path: Path) -> None:
    opened = open_small("mae", tmp_path)
    examples = [opened.rows.examples[row] for row in range(4)]
    (picture,) = opened.objective.illustrate(opened.rows.pipeline.eval_transform(examples))
    assert picture.cells.shape == (3, 4, 3, 8, 8)
    original, seen, filled = picture.cells
    assert float((original[0] - examples[0] / 255).abs().max()) < 0.01
    kept = (seen == original).all(dim=1)
    assert kept.double().mean() >= 0.25
    assert torch.equal(filled.permute(0, 2, 3, 1)[kept], original.permute(0, 2, 3, 1)[kept])
