"""The wheel: built, installed into an empty folder, and its command run from another one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = (
    "methods/mae/presets/demo.yaml",
    "models/configs/resnet18.json",
    "reporting/card_template.md",
    "hub/licenses.txt",
)
TINY = ["--max_steps", "3", "--global_batch_size", "16", "--evaluate_every", "2", "--cpu_threads", "1"]


@pytest.mark.slow
def test_an_installed_wheel_pretrains_in_an_empty_folder(tmp_path: Path) -> None:
    source, target, folder = tmp_path / "source", tmp_path / "target", tmp_path / "empty"
    files = subprocess.run(
        ["git", "ls-files", "hfssl", "pyproject.toml", "README.md", "LICENSE"], cwd=ROOT, capture_output=True
    )
    for name in files.stdout.decode().split():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = (tmp_path / "dist").glob("hfssl-*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    assert all((target / "hfssl" / name).is_file() for name in DATA)
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(target)}
    where = "import hfssl; print(hfssl.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=folder, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(target))
    done = subprocess.run(
        [str(target / "bin" / "hfssl"), "mae", *TINY],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "next        hfssl mae --dataset path/to/your/data" in done.stdout
    assert (folder / "runs" / "mae-000" / "report.html").is_file()
