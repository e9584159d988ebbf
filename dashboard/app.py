"""The navigation of the dashboard: one page per noun, the overview first, the playground last.

python -m dashboard --config driftwheel.yaml
"""

import streamlit as st

from dashboard.pages import PAGES, Page, by_section
from dashboard.views import page
from driftwheel.errors import ConflictError, DriftwheelError


def shown(entry: Page) -> st.Page:
    """Return a page as Streamlit has it."""
    # No page has an icon: Streamlit makes it the tab's icon, which the browser would fetch from the internet.
    return st.Page(entry.path, title=entry.title, url_path=entry.name, default=entry is PAGES[0])


def show_who() -> None:
    """Draw beside the navigation whose key was shown, and the way out; nothing where no key is asked for."""
    try:
        who = page.holder()
    except ConflictError:  # the page itself says so
        return
    if who is not None:
        with st.sidebar:
            st.text(f"Signed in: {who.id}")
            # A link of its own: Streamlit's open another tab, and this one would stay as it was.
            st.html('<a href="/logout">Sign out</a>')


st.set_page_config(page_title="driftwheel", layout="wide")
navigation = {section: [shown(entry) for entry in pages] for section, pages in by_section(PAGES).items()}
chosen = st.navigation(navigation, expanded=True)
try:
    # The tab tells one loop from another; before the page is run, as it may stop the run.
    st.set_page_config(page_title=f"{chosen.title}, {page.loop()[0].project}", layout="wide")
    show_who()
    chosen.run()
except DriftwheelError as error:  # a locked or broken database, a folder that is gone: a sentence and no traceback
    page.problem(str(error), "Cannot show this page")
    st.text("What to look at next:")
    st.code("driftwheel doctor", language="bash")
