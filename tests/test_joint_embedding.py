"""What methods that compare views share: teachers, batches of any backbone, exports, and settings that cannot work."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, ViTConfig

from hfssl.checkpoints.exports import write_export
from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.byol.config import BYOLConfig
from hfssl.methods.moco.config import MoCoConfig
from hfssl.methods.swav.config import SwAVConfig
from hfssl.models.backbone import Backbone
from hfssl.nn.teacher import Teacher
from tests.support.backbones import SETTINGS
from tests.support.joint_embeddings import APPLIED, NAMES, WITH_TEACHER, objective_of, views
from tests.support.laboratory import open_small
from tests.support.ranks import Ranks


def storages(module: nn.Module) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_a_teacher_starts_equal_and_shares_nothing(name: str) -> None:
    objective = objective_of(name)
    student, teacher = objective.student(), objective.teacher.network
    assert student.state_dict().keys() == teacher.state_dict().keys()
    assert all(torch.equal(tensor, teacher.state_dict()[key]) for key, tensor in student.state_dict().items())
    assert not storages(student) & storages(teacher)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_a_teacher_is_the_closed_form_average_and_moves_at_the_end_of_an_applied_step_alone(name: str) -> None:
    objective = objective_of(name, teacher_momentum=0.9)
    averaged = [parameter.detach().clone() for parameter in objective.student().parameters()]
    for step in range(3):
        with torch.no_grad():
            for parameter in objective.student().parameters():
                parameter.add_(0.1 * (step + 1))
        before = [parameter.clone() for parameter in objective.teacher.network.parameters()]
        objective(views(4, num_local=2), 0.0)
        objective.on_step_end(0.0, torch.tensor(False))
        assert all(torch.equal(a, b) for a, b in zip(before, objective.teacher.network.parameters(), strict=True))
        objective(views(4, num_local=2), 0.0)
        objective.on_step_end(0.0, APPLIED)
        students = objective.student().parameters()
        averaged = [0.9 * old + 0.1 * new.detach() for old, new in zip(averaged, students, strict=True)]
    for found, expected in zip(objective.teacher.network.parameters(), averaged, strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["byol", "dino"])
def test_teacher_momentum_rises_to_one(name: str) -> None:
    objective = objective_of(name, teacher_momentum=0.5)
    with torch.no_grad():
        for parameter in objective.student().parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in objective.teacher.network.parameters()]
    objective.on_step_end(1.0, APPLIED)
    assert all(torch.equal(a, b) for a, b in zip(before, objective.teacher.network.parameters(), strict=True))


def test_a_teacher_drops_nothing_and_normalises_by_the_batch() -> None:
    student = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    teacher = Teacher(student).train()
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    first = teacher(inputs)
    assert torch.equal(first, teacher(inputs))
    assert torch.allclose(first.mean(dim=0), torch.zeros(4), atol=1e-6)
    assert not first.requires_grad
    assert not Teacher(student).eval().network[1].training


def test_a_teacher_drops_nothing_inside_attention_either() -> None:
    config = ViTConfig(**SETTINGS["vit"], attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.5)
    teacher = Teacher(Backbone.build(config, image_size=32, num_channels=3)).train()
    pixels = views(3)["global_crops"][:, 0]
    assert torch.equal(teacher(pixels), teacher(pixels))


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    objective = objective_of(name)
    objective(views(4, num_local=2), 0.0).loss_sum.backward()
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    trainable = [key for key, parameter in objective.named_parameters() if parameter.requires_grad]
    assert all(objective.get_parameter(key).grad is not None for key in trainable)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_a_checkpoint_starts_student_and_teacher(name: str, tmp_path: Path) -> None:
    other = objective_of(name)
    with torch.no_grad():
        for parameter in other.exported().parameters():
            parameter.mul_(1.5)
    write_export(other.eval().export(), tmp_path / "export")
    objective = objective_of(name)
    report = objective.load_pretrained(str(tmp_path / "export"))
    assert report.new == []
    for key, tensor in other.exported().state_dict().items():
        assert torch.equal(objective.backbone.state_dict()[key], tensor)
        assert torch.equal(objective.teacher.network[0].state_dict()[key], tensor)


def splits(name: str, kind: str) -> dict[str, Any]:
    """MoCo's splits for batches of 16: the default 8 would leave one map of a pixel each."""
    return {"batch_norm_splits": 2} if name == "moco" and kind == "resnet" else {}


def loss_and_gradients(name: str, kind: str, start: int, count: int) -> tuple[float, float, dict[str, Tensor]]:
    """(loss sum, targets, gradients of the sum) of images start to start + count of 16, in float64."""
    objective = objective_of(name, kind, **splits(name, kind)).double()
    num_local = 2 if name in ("dino", "swav") else 0
    whole = views(16, num_local=num_local, dtype=torch.float64)
    output = objective({key: tensor[start : start + count] for key, tensor in whole.items()}, 0.5)
    output.loss_sum.backward()
    gradients = {key: p.grad for key, p in objective.named_parameters() if p.grad is not None}
    return float(output.loss_sum.detach()), float(output.num_targets), gradients


def on_a_rank(name: str, kind: str) -> tuple[float, float, dict[str, Tensor]]:
    from accelerate import PartialState

    from hfssl.distributed import rank, world_size

    PartialState(cpu=True)
    assert world_size() == 2
    return loss_and_gradients(name, kind, 8 * rank(), 8)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one_past_batch_norms_too(name: str, ranks: Ranks) -> None:
    loss, targets, gradients = loss_and_gradients(name, "resnet", 0, 16)
    parts = ranks.two(on_a_rank, name, "resnet")
    assert sum(part[0] for part in parts) == pytest.approx(loss, rel=1e-9)
    assert sum(part[1] for part in parts) == targets
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for key, expected in gradients.items():
        joined = parts[0][2][key] + parts[1][2][key]
        assert float((joined - expected).abs().max()) <= 1e-8 * largest, key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["resnet", "convnext"])
def test_the_export_is_the_plain_backbone_and_the_heads_lie_beside(name: str, kind: str, tmp_path: Path) -> None:
    num_local = 2 if name in ("dino", "swav") and kind == "resnet" else 0  # 16 px vanish in four stages of a ConvNeXt
    local = {"num_local_crops": 0, "local_crop_size": 96} if name in ("dino", "swav") and not num_local else {}
    objective = objective_of(name, kind, **splits(name, kind) | local)
    objective(views(8, num_local=num_local), 0.0)
    objective.on_step_end(0.0, APPLIED)
    write_export(objective.eval().export(), tmp_path / "export")
    model = AutoModel.from_pretrained(tmp_path / "export").eval()
    assert type(model).__module__.startswith("transformers.")
    pixels = views(3)["global_crops"][:, 0]
    with torch.inference_mode():
        found = model(pixel_values=pixels).last_hidden_state.mean(dim=(2, 3))
        assert torch.allclose(found, objective.features({"pixel_values": pixels}), atol=1e-5)
    heads = load_file(tmp_path / "export" / "heads.safetensors")
    assert any(key.startswith("projection_head.") for key in heads)
    assert not any(key.startswith(("backbone.", "teacher.")) for key in heads)


def test_a_batch_is_coupled_where_the_loss_or_a_batch_norm_compares_its_samples() -> None:
    assert {name: objective_of(name).batch_coupled for name in NAMES} == {
        "byol": True,
        "dino": False,
        "moco": False,
        "simclr": True,
        "swav": True,
    }
    assert objective_of("moco", "resnet", batch_norm_splits=2).batch_coupled
    assert objective_of("dino", "resnet").batch_coupled


def flags_of(*flags: str) -> list[str]:
    return ["--config", "demo", *flags]


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        (
            MoCoConfig,
            ["--queue_size", "1000"],
            "queue_size 1000 must be a multiple of global_batch_size 128; the nearest",
        ),
        (SwAVConfig, ["--queue_size", "100"], "queue_size 100 must be a multiple of global_batch_size 128"),
        (SwAVConfig, ["--num_local_crops", "2", "--local_crop_size", "20"], "must be at most the global crops' 16"),
        (SwAVConfig, ["--sinkhorn_epsilon", "0"], "sinkhorn_epsilon must be above 0"),
        (BYOLConfig, ["--teacher_momentum", "1.5"], r"teacher_momentum must be in \(0, 1\]"),
        (SwAVConfig, ["--num_local_crops", "2", "--local_crop_size", "6"], "must be a multiple of patch_size 4"),
        (BYOLConfig, ["--patch_size", "5"], "image_size 16 must be a multiple of patch_size 5"),
    ],
)
def test_settings_that_can_not_work_are_refused(config: Any, flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(config, ImageDataConfig, flags_of(*flags))


def test_what_the_backbone_can_not_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_norm_splits 4 has no effect: this backbone has no BatchNorm"):
        objective_of("moco", batch_norm_splits=4)
    with pytest.raises(ConfigError, match="a convnext model of this config does not take images of 16 px"):
        objective_of("dino", "convnext")


def test_a_batch_of_one_for_a_batch_norm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="compares the samples of a batch, and a single sample has nothing to be compared with"
    ):
        open_small("simclr", tmp_path, global_batch_size=1)


def test_student_and_teacher_are_one_checkpoint() -> None:
    objective = objective_of("dino")
    names = list(objective.state_dict())
    assert len(names) == len(set(names))
    assert {name.split(".")[0] for name in names} == {"backbone", "projection_head", "teacher", "centre"}
    assert copy.deepcopy(objective).state_dict().keys() == objective.state_dict().keys()
