"""The notebooks as a user runs them; all in one kernel, which forgets in between, as it takes seconds to import."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICTURES = (".plot", "Image(")


def test_notebooks_are_stored_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["can_i_trust_it", "first_fill", "networks_against_trees"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code), path.name
        text = "".join("".join(cell["source"]) for cell in code)
        assert not any(f"{word} " in text for word in ("def", "for", "while", "class")), "a notebook holds no logic"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    for name in ("nbclient", "ipykernel", "nbformat"):
        pytest.importorskip(name, reason="needs nbclient and ipykernel")
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_every_picture_is_there(path: Path, kernel: Any, tmp_path: Path):
    import nbclient
    import nbformat

    if ".report(" in path.read_text():
        pytest.importorskip("bokeh", reason="the page needs bokeh")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}"))
    nbclient.NotebookClient(notebook, timeout=600, km=kernel).execute()
    pictures = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if any(word in cell.source for word in PICTURES):
            pictures += 1
            assert kinds & {"image/png", "image/gif"}, cell.source
        if "IFrame(" in cell.source:
            (shown,) = (output.data["text/html"] for output in cell.outputs)
            source = re.search(r'<iframe[^>]*src="([^"]+)"', shown)
            assert source is not None, shown
            assert 'id="map-1"' in (tmp_path / source[1]).read_text()
        text = "".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
        assert "sgdsm.compare(" not in cell.source or "NaN" not in text, "no interval: too few blocks"
        # neither notes nor warnings of ours
        streams = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert "sgdsm" not in streams, streams
        assert "warning" not in streams.lower(), streams
    assert pictures >= 2
