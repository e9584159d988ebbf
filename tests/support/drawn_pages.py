"""Runs a page of the dashboard without a browser, and finds the widgets of what it drew."""

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

import dashboard

VIEWS = Path(dashboard.__file__).parent / "views"


def view(name: str, **query: str) -> AppTest:
    """Run one page, with a query in its address."""
    page = AppTest.from_file(VIEWS / f"{name}.py", default_timeout=120)
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


def button(page: AppTest, name: str) -> Any:
    """Return the button of a name, whatever it is drawn of: that stands behind the name in its key."""
    found = [b for b in page.button if b.key == name or str(b.key).startswith(f"{name}-")]
    assert len(found) == 1, [b.key for b in page.button]
    return found[0]


def texts(page: AppTest) -> str:
    """Return all plain text of a page."""
    return "\n".join(str(element.value) for element in page.text)
