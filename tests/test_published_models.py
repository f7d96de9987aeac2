"""What was published, as a stranger finds it: fresh processes without hfssl load it by name from a local server."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from hfssl.checkpoints.exports import write_export
from hfssl.commands.publish import publish
from hfssl.errors import ConfigError
from hfssl.hub.errors import HubError
from hfssl.hub.publish_config import PublishConfig
from hfssl.hub.push import Published
from hfssl.objective import Export
from hfssl.run_dir import RunDir
from tests.support.finetuned_folder import adapter_folder, finished_task, model_of
from tests.support.hub_server import OWNER_TOKEN, LocalHub
from tests.support.run_folder import finished

ROOT = Path(__file__).parents[1]
TASKS = ("image-classification", "text-classification", "token-classification", "audio-classification")
TASKS += ("automatic-speech-recognition", "question-answering")
PIXELS = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)
STRANGER = """
import json, re, sys
sys.modules["hfssl"] = None  # as if it were not installed
import torch
from huggingface_hub import hf_hub_download
from peft import PeftModel
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification
for name in json.loads(sys.argv[1]):
    text = open(hf_hub_download(name, "README.md"), encoding="utf-8").read()
    (snippet,) = re.findall(r"```python\\n(.*?)```", text, re.DOTALL)
    exec(snippet, {})
    print("snippet of", name)
pixels = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)
processor = AutoImageProcessor.from_pretrained("ada/vit")
hidden = AutoModel.from_pretrained("ada/vit", add_pooling_layer=False).eval()(pixels).last_hidden_state
base = AutoModelForImageClassification.from_pretrained("ada/base", num_labels=3, ignore_mismatched_sizes=True)
logits = PeftModel.from_pretrained(base, "ada/adapter").eval()(pixel_values=pixels).logits
torch.save({"hidden": hidden.detach(), "logits": logits.detach(), "size": processor.size["height"]}, sys.argv[2])
"""
DENIED = """
import sys
from transformers import AutoModel
try: AutoModel.from_pretrained("ada/vit")
except OSError as error: print("denied", "ada/vit" in str(error))
"""


def push(run_dir: RunDir, name: str, **given: Any) -> Published | None:
    return publish(PublishConfig(run=str(run_dir.path), hub_model_id=name, **given))


def stranger(hub: LocalHub, code: str, *arguments: str, token: str | None = OWNER_TOKEN) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=hub.environment(token),
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def adapter_run(tmp_path: Path) -> tuple[RunDir, Any]:
    """(a finished run whose export is an adapter of a local checkpoint, the adapted model)."""
    export, model = adapter_folder(tmp_path / "made")
    run_dir = finished_task(tmp_path / "run", ["--model", str(tmp_path / "made" / "base")])
    config = run_dir.read_config()
    config["method"]["adaptation"] = "lora"
    run_dir.write_config(config)
    for file in run_dir.export.iterdir():
        file.unlink()
    for file in export.iterdir():
        file.rename(run_dir.export / file.name)
    return run_dir, model


@pytest.mark.versions
def test_a_stranger_loads_encoders_models_of_tasks_and_adapters_by_name(at_hub: LocalHub, tmp_path: Path) -> None:
    encoder = finished(tmp_path / "vit")
    push(encoder, "vit")
    for tag in TASKS:
        run_dir = finished_task(tmp_path / tag)
        write_export(Export(*model_of(tag, tmp_path / f"{tag}-made")), run_dir.export)
        push(run_dir, tag)
    adapter, model = adapter_run(tmp_path / "adapter")
    at_hub.create("ada/base")
    base = tmp_path / "adapter" / "made" / "base"
    at_hub.commit("ada/base", {path.name: path.read_bytes() for path in base.iterdir()})
    push(adapter, "adapter", base_model="ada/base")
    names = ["ada/vit", *(f"ada/{tag}" for tag in TASKS), "ada/adapter"]
    said = stranger(at_hub, STRANGER, json.dumps(names), str(tmp_path / "found.pt"))
    assert [f"snippet of {name}" in said for name in names] == [True] * len(names)
    found = torch.load(tmp_path / "found.pt")
    with torch.inference_mode():
        from transformers import AutoModel

        expected = AutoModel.from_pretrained(encoder.export, add_pooling_layer=False).eval()(PIXELS).last_hidden_state
        logits = model(pixel_values=PIXELS).logits
    assert torch.equal(found["hidden"], expected)
    torch.testing.assert_close(found["logits"], logits, atol=1e-5, rtol=0)
    assert found["size"] == 8
    card = ModelCard(at_hub.repository("ada/adapter").files()["README.md"].decode())
    assert (card.data.library_name, card.data.base_model) == ("peft", "ada/base")
    assert "on the Hub and is useless" not in card.text


def test_without_a_token_what_is_private_is_not_there(at_hub: LocalHub, tmp_path: Path) -> None:
    push(finished(tmp_path / "vit"), "vit", private=True)
    assert stranger(at_hub, DENIED, token=None) == "denied True\n"


def test_an_adapter_of_a_local_checkpoint_needs_a_published_base(at_hub: LocalHub, tmp_path: Path) -> None:
    run_dir, _ = adapter_run(tmp_path)
    with pytest.raises(ConfigError, match="is an adapter of a checkpoint that is on this machine only"):
        push(run_dir, "adapter")
    with pytest.raises(HubError, match="--base_model ada/base is not on the Hub: publish it first"):
        push(run_dir, "adapter", base_model="ada/base")
    at_hub.create("ada/base")
    at_hub.commit("ada/base", {"model.safetensors": b"other weights"})
    with pytest.raises(HubError, match="--base_model ada/base holds other weights than the checkpoint"):
        push(run_dir, "adapter", base_model="ada/base")
    assert ("model", "ada/adapter") not in at_hub.repositories


def run_recipe(recipe: str, *flags: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)


def test_a_recipe_pushes_at_its_end_and_nothing_of_this_machine_leaves(hub: LocalHub, tmp_path: Path) -> None:
    data = tmp_path / "canary-data" / "train"
    for number in range(80):
        folder = data / ("bright" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 128, (8, 8, 3), np.uint8) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"canary-{number}.png")
    size = ["--image_size", "8", "--patch_size", "4", "--hidden_size", "16", "--num_hidden_layers", "1"]
    size += ["--num_attention_heads", "2", "--decoder_hidden_size", "8", "--decoder_num_hidden_layers", "1"]
    flags = ["--config", "demo", *size, "--dataset", str(data.parent), "--max_steps", "2", "--global_batch_size", "8"]
    flags += ["--output_dir", str(tmp_path / "canary-run"), "--cpu_threads", "1", "--decoder_num_attention_heads", "2"]
    environment = hub.environment() | {"ACCELERATE_USE_CPU": "true"}
    hub.fail("commit", 403)
    done = run_recipe("mae", *flags, "--push_to_hub", "true", "--hub_model_id", "tiny", environment=environment)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert re.search(
        r"^error: .*may not write to ada/tiny.*the run is finished; publish it with: python .*publish\.py",
        last,
    )
    run_dir = RunDir(tmp_path / "canary-run")
    assert run_dir.is_finished()
    done = run_recipe("publish", "--run", str(run_dir.path), "--hub_model_id", "tiny", environment=environment)
    assert done.returncode == 0, done.stderr
    assert f"published   {hub.endpoint}/ada/tiny/commit/" in done.stdout
    assert OWNER_TOKEN not in done.stdout + done.stderr
    files = hub.repository("ada/tiny").files()
    assert {"README.md", "model.safetensors", "pretraining/model.safetensors", "figures/loss.png"} <= set(files)
    sent = hub.uploaded()
    for secret in ("canary", OWNER_TOKEN, str(tmp_path)):
        assert secret.encode() not in sent
        assert not any(secret.encode() in content for content in files.values())


def test_a_push_that_could_not_succeed_is_refused_before_the_run(hub: LocalHub, tmp_path: Path) -> None:
    hub.create("ada/other")
    hub.commit("ada/other", {"weights.bin": b"1"})
    flags = ["--output_dir", str(tmp_path / "run"), "--push_to_hub", "true", "--hub_model_id", "other"]
    done = run_recipe("mae", *flags, environment=hub.environment() | {"ACCELERATE_USE_CPU": "true"})
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: --push_to_hub: ada/other holds something else than a run of mae")
    assert not (tmp_path / "run").exists()
