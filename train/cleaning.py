"""A text becomes the same text without markup, control characters and broken encodings."""

import re
import unicodedata
from html import unescape

import ftfy

# Only HTML's own names with name=value attributes count, so that `a <b and c> d` and `<order id>` stay.
TAG = re.compile(
    r"</?(?:a|abbr|article|b|blockquote|body|br|button|code|div|em|font|footer|form|h[1-6]|head|header|hr|html|i|img|"
    r"input|label|li|link|main|meta|nav|ol|p|pre|s|section|small|span|strong|sub|sup|table|tbody|td|th|thead|title|tr|"
    r"u|ul)(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>",
    re.IGNORECASE,
)
SCRIPT = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
SPACES = re.compile(r"[ \t\u00a0]+")


def clean_prompt(text: str) -> str:
    """Return a prompt without HTML and control characters, in Unicode form NFC.

    Spaces are only gathered where markup was taken out: elsewhere they may be code.
    """
    text = SCRIPT.sub(" ", text)
    if not TAG.search(text):
        return clean_answer(text)
    lines = [SPACES.sub(" ", line).strip() for line in clean_answer(unescape(TAG.sub(" ", text))).split("\n")]
    return "\n".join(lines).strip()


def clean_answer(text: str) -> str:
    """Return an answer with its encoding mended and control characters removed; its markup is the task's own."""
    text = ftfy.fix_text(text, unescape_html=False, uncurl_quotes=False)
    return CONTROL.sub("", unicodedata.normalize("NFC", text)).strip()


def normalized(text: str) -> str:
    """Return the form in which two prompts count as exactly the same: case, width and spacing do not matter."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
