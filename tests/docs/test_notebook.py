"""The notebook runs from its first cell to its last, and shows what it says."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.papers import ROOT

pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # the kernel's own
NOTEBOOK = ROOT / "docs" / "notebooks" / "the_loop.ipynb"


def test_the_notebook_walks_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two threads on a busy machine wait for each other
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.reads(NOTEBOOK.read_text(encoding="utf-8"), as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    pictures = [o for o in outputs if "image/svg+xml" in o.get("data", {})]
    assert len(pictures) >= 5
    assert "window 6: retrain: " in printed or "window 5: retrain: " in printed, printed
    assert "much better: PROMOTE" in printed
    assert "a little better: INCONCLUSIVE" in printed
