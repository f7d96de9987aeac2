"""The notebooks of examples/ run from top to bottom, at a tiny size."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_notebook_runs_and_shows_its_run(file: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == "MAX_STEPS = 1000"
    first.source = "MAX_STEPS = 3\nfrom hfssl.evaluation import linear_probe\nlinear_probe.NUM_DRAWS = 2"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    pages = [data["text/html"] for data in shown if "text/html" in data]
    assert any("data:image/png;base64," in page and "kNN" in page for page in pages)
    assert any("accuracy" in page for page in pages)
    assert (tmp_path / "runs" / "mae-000" / "export" / "config.json").is_file()
