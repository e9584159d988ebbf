"""The navigation of the dashboard: one page per noun, the overview first, the playground last.

python -m dashboard --config driftwheel.yaml
"""

import streamlit as st

from dashboard.pages import PAGES, Page, by_section


def shown(page: Page) -> st.Page:
    """Return a page as Streamlit has it."""
    # No page has an icon: Streamlit makes it the tab's icon, which the browser would fetch from the internet.
    return st.Page(page.path, title=page.title, url_path=page.name, default=page is PAGES[0])


st.set_page_config(page_title="driftwheel", layout="wide")
navigation = {section: [shown(page) for page in pages] for section, pages in by_section(PAGES).items()}
st.navigation(navigation, expanded=True).run()
