"""Embedding a split: what a stranger would compute, bad rows left out, a file that others read, refusals that help."""

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
    Wav2Vec2Config,
)

from hfssl.commands.embed import embed
from hfssl.commands.embed_config import EmbedConfig
from hfssl.console import reported
from hfssl.errors import ConfigError
from hfssl.evaluation import pixels
from hfssl.evaluation.feature_file import write_features
from hfssl.evaluation.features import feature_blocks, image_features, open_encoder
from hfssl.objective import BadRowError

CPU = torch.device("cpu")
CORRUPT = 4
SIZES = [(20, 24), (40, 30), (16, 16), (16, 16), (18, 50), (33, 21), (16, 16), (25, 25), (16, 30), (60, 16)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny-vit"
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten files of two classes, the fifth of them not an image."""
    folder = tmp_path_factory.mktemp("data") / "photographs"
    generator = np.random.default_rng(0)
    for row, size in enumerate(SIZES):
        path = folder / ("ants" if row < 5 else "bees") / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    (folder / "ants" / f"{CORRUPT}.png").write_bytes(b"not an image")
    return folder


def strangers_features(model: str, files: list[Path]) -> np.ndarray:
    processor, encoder = AutoImageProcessor.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    images = [Image.open(file).convert("RGB") for file in files]
    with torch.inference_mode():
        return encoder(**processor(images=images, return_tensors="pt")).last_hidden_state[:, 0].numpy()


def test_an_embedded_folder_holds_what_a_stranger_computes(
    model: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "features.parquet"
    config = EmbedConfig(
        model=model, dataset=str(photographs), output=str(output), neighbours=3, outliers=2, batch_size=4
    )
    assert embed(config) == output
    said = capsys.readouterr().out
    assert f"left out: row {CORRUPT} ants/{CORRUPT}.png cannot be read" in said
    assert "1 of 10 images cannot be decoded" in said
    assert sorted(path.name for path in output.parent.iterdir()) == ["features.parquet", "features.png"]
    assert np.asarray(Image.open(output.with_suffix(".png")).convert("L")).std() > 5

    stored = datasets.load_dataset("parquet", data_files=str(output), split="train", cache_dir=str(tmp_path / "cache"))
    good = [row for row in range(10) if row != CORRUPT]
    assert stored["row"][:] == good
    assert stored["path"][:] == [f"{'ants' if row < 5 else 'bees'}/{row}.png" for row in good]
    assert stored["label"][:] == ["ants" if row < 5 else "bees" for row in good]
    features = np.asarray(stored["features"][:], dtype=np.float32)
    assert np.allclose(
        features, strangers_features(model, [photographs / path for path in stored["path"][:]]), atol=1e-5
    )
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T - 4 * np.eye(9, dtype=np.float32)
    nearest = np.argsort(-cosines, axis=1)[:, :3]
    assert np.array_equal(stored["neighbours"][:], np.asarray(good)[nearest])
    assert np.allclose(stored["similarities"][:], np.take_along_axis(cosines, nearest, axis=1), atol=1e-5)
    scores = 1 - np.take_along_axis(cosines, nearest, axis=1).mean(axis=1)
    assert np.allclose(stored["outlier_score"][:], scores, atol=1e-5)
    strangest = good[int(scores.argmax())]
    assert f"{scores.max():.3f}  row {strangest}" in said
    facts = json.loads(pyarrow.parquet.read_schema(output).metadata[b"hfssl"])
    assert facts["rows_left_out"] == 1
    assert facts["outlier_score"] == "mean cosine distance to the 3 nearest other rows"


def test_the_file_says_what_made_it_without_saying_where(model: str, photographs: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    embed(EmbedConfig(model=model, dataset=str(photographs), output=str(output)))
    schema = pyarrow.parquet.read_schema(output)
    assert schema.names == ["row", "path", "label", "features"]
    assert str(schema.field("features").type).startswith("fixed_size_list<element: float")
    facts = json.loads(schema.metadata[b"hfssl"])
    assert (facts["model"], facts["pooling"], facts["data"]) == ("tiny-vit", "cls", "photographs")
    assert "torch" in facts["versions"]
    assert str(photographs.parent).encode() not in output.read_bytes()


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.parquet"
    write_features(path, {"row": [1, 2]}, {})

    def half(table: object, where: Path, **options: object) -> None:
        Path(where).write_bytes(b"PAR1")
        raise OSError("No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        write_features(path, {"row": [3]}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["f.parquet"]
    assert pyarrow.parquet.read_table(path)["row"].to_pylist() == [1, 2]


def test_a_query_finds_its_own_copy_first(
    model: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    asked.mkdir()
    (asked / "copy.png").write_bytes((photographs / "bees" / "7.png").read_bytes())
    (asked / "broken.png").write_bytes(b"nothing")
    config = EmbedConfig(
        model=model, dataset=str(photographs), output=str(tmp_path / "f.parquet"), query=str(asked), neighbours=2
    )
    embed(config)
    said = capsys.readouterr().out.splitlines()
    answer = said.index("nearest to copy.png:")
    assert said[answer + 1] == "  1.000  row 7 bees/7.png"
    assert said[answer + 2].startswith("  0.")
    assert not said[answer + 3].startswith("  ")
    assert any(line.startswith("left out: row 0 broken.png") for line in said)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_worker_processes_and_small_chunks_change_nothing(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]
    encoder = open_encoder(model, CPU)
    alone = np.concatenate([image_features(encoder, [image]) for image in images])
    held = []

    def processed(processor: object, chunk: list[torch.Tensor]) -> torch.Tensor:
        held.append(sum(image.numel() for image in chunk[:-1]))
        return original(processor, chunk)

    original = pixels.processed
    monkeypatch.setattr(pixels, "processed", processed)
    monkeypatch.setattr(pixels, "_MOST_DECODED_BYTES", 3000)
    assert np.allclose(image_features(encoder, images, batch_size=4), alone, atol=1e-5)
    assert len(held) > 3
    assert max(held) <= 3000
    monkeypatch.setattr(pixels, "num_workers", lambda num_blocks, device: 2)
    assert np.allclose(image_features(encoder, images, batch_size=2), alone, atol=1e-5)


def test_features_come_in_order_with_the_bad_rows_of_their_block(model: str) -> None:
    class Some:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> torch.Tensor:
            if index % 3 == 0 or index < 5:
                raise BadRowError("is bad")
            return torch.full((3, 16, 16), index, dtype=torch.uint8)

    blocks = list(feature_blocks(open_encoder(model, CPU), Some(), batch_size=2))
    assert len(blocks) > 1
    good = [row for block in blocks for row in block.rows]
    assert good == [row for row in range(5, 40) if row % 3]
    assert [row for block in blocks for row in block.bad] == [row for row in range(40) if row not in good]
    assert all(len(block.rows) == len(block.features_BD) for block in blocks)
    with pytest.raises(BadRowError, match="image 0 is bad"):
        image_features(open_encoder(model, CPU), Some())


def test_what_can_not_be_embedded_says_why_in_one_line(
    model: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BertConfig().save_pretrained(tmp_path / "text")
    Wav2Vec2Config().save_pretrained(tmp_path / "audio")
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("layout: 2\nrecipe: mae\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"not an image")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in Path(model).iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:2000])
    (tmp_path / "no-images").mkdir()
    good = {"model": model, "dataset": str(photographs), "output": str(tmp_path / "out" / "f.parquet")}
    for flags, message in (
        ({"model": str(tmp_path / "text")}, "is a bert model, which reads input_ids"),
        ({"model": str(tmp_path / "audio")}, "is a wav2vec2 model, which reads input_values"),
        ({"model": str(tmp_path / "nowhere")}, "does not exist: name a run folder, an export or a Hub id"),
        ({"model": str(damaged)}, "is damaged"),
        ({"model": str(unfinished)}, "has no checkpoint to make an export of"),
        ({"neighbours": 10}, "10 neighbours need more than 10 rows that can be decoded, there are 10"),
        ({"neighbours": 9}, "9 neighbours need more than 9 rows that can be decoded, there are 9"),
        ({"outliers": 3}, "lower --neighbours"),
        ({"outliers": 11, "neighbours": 2}, "--outliers 11 is more than the 10 rows"),
        ({"dataset": str(tmp_path / "broken")}, "none of the 1 images can be decoded"),
        ({"query": str(tmp_path / "no-images")}, "holds no image"),
        ({"split": "test"}, "--split test is not in"),
    ):
        with pytest.raises(SystemExit) as stopped, reported():
            embed(EmbedConfig(**(good | flags)))
        assert stopped.value.code == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    assert not (tmp_path / "out").exists()


def test_flags_that_can_not_work_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    good = {"model": "any", "dataset": "demo:digits", "output": str(tmp_path / "f.parquet")}
    for flags, message in (
        ({"model": None}, "--model"),
        ({"dataset": None}, "--dataset"),
        ({"output": str(tmp_path)}, "is a folder: name a file in it"),
        ({"output": str(tmp_path / "f.csv")}, "must end in .parquet"),
        ({"output": str(tmp_path / "file" / "f.parquet")}, "file is a file"),
        ({"neighbours": 0}, "neighbours must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"query": str(tmp_path / "missing.png")}, "does not exist"),
    ):
        with pytest.raises(ConfigError, match=message):
            EmbedConfig(**(good | flags))
