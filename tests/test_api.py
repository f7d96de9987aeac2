"""The Python API: the same runs as by the command, from paths and from memory, and errors that are exceptions."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image

import hfssl
from hfssl.commands.pretrain import pretrain as pretrain_run
from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.in_memory import as_dataset_path, as_files, modality_of
from hfssl.errors import ConfigError
from hfssl.evaluation import linear_probe
from hfssl.methods.mae.config import MAEConfig
from hfssl.methods.mae.objective import MAE
from hfssl.training.interruption import StopRequest

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "config": "demo",
    "image_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "max_steps": 3,
    "global_batch_size": 8,
    "log_every": 1,
    "evaluate_every": 2,
    "cpu_threads": 1,
}


def pictures(count: int = 70) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 255, (12, 10, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> hfssl.Run:
    folder = tmp_path_factory.mktemp("api")
    return hfssl.pretrain("mae", dataset=pictures(), **TINY, output_dir=folder / "run", seed=np.int64(3))


def test_importing_is_light_and_lists_the_api() -> None:
    code = "import sys, hfssl; print(sorted(m for m in ('torch', 'yaml', 'numpy', 'datasets') if m in sys.modules), dir(hfssl))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.startswith("[] ")
    assert {"pretrain", "finetune", "evaluate", "embed", "predict", "publish", "plan", "Run"} <= set(hfssl.__all__)
    assert all(name in said for name in hfssl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'pretrian'; it has: Run, embed"):
        hfssl.pretrian  # noqa: B018


def test_a_run_has_all_that_its_folder_has(run: hfssl.Run) -> None:
    assert run.export == run.path / "export"
    assert [row["step"] for row in run.metrics if "loss" in row] == [1, 2, 3]
    assert len(run.to_pandas()) == len(run.metrics)
    assert run.summary["steps"] == 3
    assert {"loss", "reconstruction"} <= run.figures.keys()
    assert all(file.is_file() for file in [*run.figures.values(), run.report])
    assert type(run.model()).__name__ == "ViTModel"
    inputs = run.processor()(pictures(1)[0], return_tensors="pt")
    assert run.model()(**inputs).last_hidden_state.shape[-1] == 16
    assert run.config["loop"]["seed"] == 3
    assert "finished" in repr(run)
    page = run._repr_html_()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert hfssl.Run(run.path).summary == run.summary


def test_keywords_and_flags_make_the_same_run_to_the_bit(run: hfssl.Run, tmp_path: Path) -> None:
    argv = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    argv += ["--dataset", as_dataset_path(pictures()), "--output_dir", str(tmp_path / "run"), "--seed", "3"]
    run_dir = pretrain_run(MAE, parse(MAEConfig, ImageDataConfig, argv))

    def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]

    assert untimed(run_dir.read_metrics()) == untimed(run.metrics)


def test_a_second_call_of_a_finished_run_returns_it(run: hfssl.Run) -> None:
    again = hfssl.pretrain("mae", dataset=pictures(), **TINY, output_dir=run.path, seed=3)
    assert (again.path, again.metrics) == (run.path, run.metrics)


def test_what_cannot_work_is_an_exception_in_one_line(run: hfssl.Run, tmp_path: Path) -> None:
    for call, message in (
        (lambda: hfssl.pretrain("mae", datset="x"), "unknown keyword datset; did you mean dataset?"),
        (lambda: hfssl.pretrain("maee"), "there is no method maee; there are: byol"),
        (lambda: hfssl.pretrain("mae", mask_ratio=75), "for 75 % write 0.75"),
        (lambda: hfssl.pretrain("mae", dataset=[1, 2]), "got a list of int"),
        (lambda: hfssl.pretrain("mae", dataset=[np.zeros((4, 4))]), "got a list of float64 arrays (4, 4)"),
        (lambda: hfssl.pretrain("mae", dataset=[*pictures(2), "text"]), "element 0 is image, element 2 is text"),
        (lambda: hfssl.pretrain("mae", dataset=[]), "the list of samples is empty"),
        (lambda: hfssl.pretrain("wav2vec2", dataset=[np.zeros(99)]), "waveforms need sampling_rate"),
        (lambda: hfssl.embed(run, pictures(), neighbors=3), "unknown keyword neighbors; did you mean neighbours?"),
        (lambda: hfssl.evaluate(tmp_path / "none", "demo:digits"), "none"),
        (lambda: hfssl.Run(tmp_path), "is not a run folder"),
        (lambda: hfssl.predict(run, ["a text"]), "which has no head of a task: name a fine-tuned checkpoint"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)) as caught:
            call()  # type: ignore[no-untyped-call]
        assert "\n" not in str(caught.value)


def test_embedding_and_evaluation_return_what_the_files_hold(run: hfssl.Run, tmp_path: Path) -> None:
    features = hfssl.embed(run, pictures(9), neighbours=2)
    assert len(features) == 9
    assert len(features["features"][0]) == 16
    labelled = Dataset.from_dict(
        {"image": pictures(60), "label": [row % 2 for row in range(60)]},
        features=Features({"image": Dataset.from_dict({"i": pictures(1)}).features["i"], "label": ClassLabel(2)}),
    )
    result = hfssl.evaluate(run, labelled, num_seeds=2, label_sizes=["5"], output_dir=tmp_path)
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text()) == json.loads(json.dumps(result))


def test_fine_tuning_and_predicting_from_memory(run: hfssl.Run, tmp_path: Path) -> None:
    labelled = [{"image": image, "label": "ab"[row % 2]} for row, image in enumerate(pictures())]
    tuned = hfssl.finetune(
        run, labelled, max_steps=2, global_batch_size=8, output_dir=tmp_path / "tuned", cpu_threads=1
    )
    assert type(tuned.model()).__name__.endswith("ForImageClassification")
    assert "accuracy" in tuned.summary["scores"]
    said = hfssl.predict(tuned, pictures(5))
    assert len(said) == 5
    assert set(said["label"]) <= {"a", "b"}
    assert hfssl.publish(tuned, "tiny", dry_run=True) is None


def test_data_in_memory_is_stored_once_and_kinds_are_told_apart(tmp_path: Path) -> None:
    assert as_dataset_path("someone/something") == "someone/something"
    assert as_dataset_path(pictures(3)) == as_dataset_path(pictures(3)) != as_dataset_path(pictures(4))
    waves = [np.sin(np.arange(800) / 9.0), np.zeros(700, dtype=np.float32)]
    assert [modality_of(data) for data in (pictures(1), ["a"], waves, [np.zeros((4, 4, 3), dtype=np.uint8)])] == [
        "image",
        "text",
        "audio",
        "image",
    ]
    files = sorted(as_files(waves, tmp_path, sampling_rate=8000).iterdir())
    assert [file.name for file in files] == ["00000.wav", "00001.wav"]
    table = Dataset.from_dict({"text": ["a", "b"]}, features=Features({"text": Value("string")}))
    assert as_dataset_path(table) == as_dataset_path(["a", "b"])


def test_a_run_may_be_started_from_another_thread() -> None:
    failed: list[BaseException] = []

    def body() -> None:
        try:
            with StopRequest() as stop:
                assert not stop.asked()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert failed == []


def test_every_block_of_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 5
    monkeypatch.setattr(linear_probe, "NUM_DRAWS", 2)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block.replace("max_steps=500", "max_steps=3"), "docs/python.md", "exec"), names)
    assert len(names["predictions"]) == 3
    assert names["own"].export.is_dir()
