"""Prepare pages for the site: links to files outside docs/ become plain text, because the site does not hold them.

MkDocs calls `on_page_markdown`; mkdocs.yml names this file. tests/docs/test_links.py sees that such files exist.
"""

import re

from mkdocs.structure.pages import Page

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)]*\)")


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return a page without links that leave the site."""
    depth = page.file.src_uri.count("/")
    return OUTSIDE.sub(lambda link: link[1] if link[0].count("../") > depth else link[0], markdown)
