"""The registry of pages: a new page is one file in `views/` and one line here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VIEWS = Path(__file__).with_name("views")


@dataclass(frozen=True)
class Page:
    """One page: its file's name, its title, and the section of the navigation that it stands in."""

    name: str
    title: str
    section: str = ""

    @property
    def path(self) -> Path:
        """The file that draws it."""
        return VIEWS / f"{self.name}.py"


PAGES = (
    Page("overview", "Now"),
    Page("datasets", "Datasets", "Build"),
    Page("training_runs", "Train and retrain", "Build"),
    Page("model_versions", "Model versions", "Build"),
    Page("comparison", "Compare versions", "Build"),
    Page("operate", "Operate", "Serve"),
    Page("deployments", "Deployments", "Serve"),
    Page("traffic", "Traffic", "Serve"),
    Page("label", "Label", "Serve"),
    Page("playground", "Playground", "Serve"),
    Page("drift_signals", "Drift", "Watch"),
    Page("history", "History", "Watch"),
    Page("decisions", "Retrain decisions", "Watch"),
)
"""In the order of the navigation; the first is where the dashboard opens."""


def by_section(pages: Sequence[Page]) -> dict[str, list[Page]]:
    """Return the pages of each section, in the order in which the sections first appear."""
    sections: dict[str, list[Page]] = {}
    for page in pages:
        sections.setdefault(page.section, []).append(page)
    return sections


def title_of(view: str | Path) -> str:
    """Return the title of the page that a file draws."""
    name = Path(view).stem
    return next(page.title for page in PAGES if page.name == name)
