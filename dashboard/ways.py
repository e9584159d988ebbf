"""Ways from one page to another: buttons that open a page at once, whatever the one that they stand on has to read."""

from typing import Any

import streamlit as st

TO = "way_to"


def way(label: str, to: str, *, key: str, type: Any = "secondary", **query: str) -> None:
    """Draw a button that opens another page, named by its file; `query` goes into that page's address."""
    if st.button(label, key=key, type=type, on_click=_remember, args=(to, query)):
        follow()


def _remember(to: str, query: dict[str, str]) -> None:
    st.session_state[TO] = (to, query)


def follow() -> None:
    """Open the page whose button was just pressed, if one was.

    Called before anything is read: a press runs its page, or the part that is drawn anew every few seconds, from the
    top, and on a busy machine that took seconds in which nothing was to be seen of it.
    """
    to, query = st.session_state.pop(TO, (None, None))
    if to is not None:
        st.switch_page(f"views/{to}.py", query_params=query)
