"""A page is one file and one line of the registry: nothing else knows it by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dashboard
from dashboard.pages import PAGES, VIEWS, by_section
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

ROOT = Path(dashboard.__file__).parents[1]
VIEW = """
from dashboard.views import page

page.start(__file__, "A page that was added.")
"""
LINE = '    Page("added", "Added by a test", "Watch"),\n'
OPEN_IT = """
from streamlit.testing.v1 import AppTest

app = AppTest.from_file("dashboard/app.py", default_timeout=120).run()
app.switch_page("views/added.py").run()
assert not app.exception, app.exception
print(app.title[0].value)
"""


def test_every_view_is_registered_and_every_page_has_its_view() -> None:
    views = {path.stem for path in VIEWS.glob("*.py")} - {"__init__", "page"}
    assert views == {page.name for page in PAGES}
    assert [page for pages in by_section(PAGES).values() for page in pages] == list(PAGES), "sections stand together"


def test_a_page_that_is_added_by_a_file_and_a_line_is_in_the_navigation(
    tmp_path: Path, settings: Settings, ledger: Ledger
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "dashboard", copy / "dashboard", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "dashboard" / "views" / "added.py").write_text(VIEW, encoding="utf-8")
    registry = copy / "dashboard" / "pages.py"
    before, last, after = registry.read_text(encoding="utf-8").rpartition('    Page("decisions"')
    line, rest = after.split("\n", 1)
    registry.write_text(f"{before}{last}{line}\n{LINE}{rest}", encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(copy), str(ROOT)]),
        "DRIFTWHEEL_CONFIG": str(settings.path),
    }
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPEN_IT],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == "Added by a test"
