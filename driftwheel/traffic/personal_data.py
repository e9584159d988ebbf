"""Find personal data in a text, and replace it by its kind.

Found are what a checksum or a plan of numbers can confirm: e-mail and IP addresses, payment cards (Luhn), IBANs, and
telephone numbers that begin with `+`, and the numbers by which eight states know people. Names and street addresses
are not found.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import phonenumbers
from stdnum import iban, luhn

from driftwheel.traffic.national_ids import national_ids

EXCERPT_CHARACTERS = 80
"""As much as a line holds."""
KINDS = ("EMAIL", "IBAN", "CARD", "PHONE", "IP", "NATIONAL_ID")
# Bounded, and begun only where a word begins: the time must stay linear, because strangers write the texts.
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,63}")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]){11,30}\b", re.IGNORECASE)
CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]?\d)")
IP_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w.:]*\w)", re.I
)


@dataclass(frozen=True)
class PersonalData:
    """A piece of personal data, its kind one of KINDS, and where it stands."""

    kind: str
    start: int
    end: int
    text: str

    @property
    def masked(self) -> str:
        """The first two and last two characters, enough to find it and not to use it."""
        return f"{self.text[:2]}...{self.text[-2:]}"


def find_personal_data(text: str) -> list[PersonalData]:
    """Return what is found in a text, in its order and without overlaps."""
    found: list[PersonalData] = []
    for piece in sorted(_candidates(text), key=lambda p: (p.start, -p.end)):
        if not found or piece.start >= found[-1].end:
            found.append(piece)
    return found


def redact(text: str, kinds: Collection[str] = KINDS) -> tuple[str, Counter[str]]:
    """Return the text with `<EMAIL>` and the like in place of those kinds of data, and how many of each."""
    pieces = [piece for piece in find_personal_data(text) if piece.kind in kinds]
    for piece in reversed(pieces):
        text = f"{text[: piece.start]}<{piece.kind}>{text[piece.end :]}"
    return text, Counter(piece.kind for piece in pieces)


def excerpt(text: str) -> str:
    """Return the beginning of a text without personal data."""
    # Twice as much is searched, so that nothing is cut in the middle and then not known for what it is.
    return redact(text[: 2 * EXCERPT_CHARACTERS])[0][:EXCERPT_CHARACTERS]


def _candidates(text: str) -> Iterator[PersonalData]:
    for match in EMAIL.finditer(text):
        yield PersonalData("EMAIL", *match.span(), match.group())
    if not any(c.isdigit() for c in text) and "::" not in text:
        return
    for match in IBAN.finditer(text):
        words = match.group().split(" ")  # the words after it may look like a part of it
        tries = (" ".join(words[:count]) for count in range(len(words), 0, -1))
        if valid := next((t for t in tries if iban.is_valid(t)), None):
            yield PersonalData("IBAN", match.start(), match.start() + len(valid), valid)
    for kind, pattern, is_valid in (("CARD", CARD, _is_card), ("IP", IP_ADDRESS, _is_ip)):
        for match in pattern.finditer(text):
            if is_valid(match.group()):
                yield PersonalData(kind, *match.span(), match.group())
    for start, end in national_ids(text):
        yield PersonalData("NATIONAL_ID", start, end, text[start:end])
    if "+" in text:
        for phone in phonenumbers.PhoneNumberMatcher(text, None):
            yield PersonalData("PHONE", phone.start, phone.end, phone.raw_string)


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return digits[0] in "23456" and bool(luhn.is_valid(digits))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
