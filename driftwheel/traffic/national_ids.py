"""Finds numbers by which states know people: what a checksum or a fixed form confirms, in eight countries.

Numbers of which one in eleven passes its checksum (Dutch BSN, British NHS) are found only where their name stands
before.
"""

import re
from collections.abc import Callable, Iterator

from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn

Valid = Callable[[str], bool]
FORMS: tuple[tuple[re.Pattern[str], Valid], ...] = (
    (re.compile(r"(?<![\w.-])\d{2}[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}(?![\w-])"), idnr.is_valid),
    (
        re.compile(r"(?<![\w.-])[12378][ ]?\d{2}[ ]?\d{2}[ ]?\d[\dABab][ ]?\d{3}[ ]?\d{3}[ ]?\d{2}(?![\w-])"),
        nir.is_valid,
    ),
    (re.compile(r"(?<![\w.-])\d{8}[ -]?[A-Za-z](?!\w)"), dni.is_valid),
    (re.compile(r"(?<![\w.-])[XYZxyz][ -]?\d{7}[ -]?[A-Za-z](?!\w)"), nie.is_valid),
    (re.compile(r"(?<!\w)[A-Za-z]{6}\d{2}[A-Za-z]\d{2}[A-Za-z]\d{3}[A-Za-z](?!\w)"), codicefiscale.is_valid),
    (re.compile(r"(?<![\w.-])\d{11}(?![\w-])"), pesel.is_valid),
    (re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])"), ssn.is_valid),
    (
        re.compile(r"(?<!\w)(?![DFIQUVO])[A-Z](?![DFIQUVO])[A-Z][ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-D](?!\w)"),
        lambda _: True,
    ),
)
"""Germany's tax number, France's NIR, Spain's DNI and NIE, Italy's codice fiscale, Poland's PESEL, the United States'
SSN, and the national insurance number of the United Kingdom, whose prefixes are listed and which has no checksum."""
NAMED: tuple[tuple[re.Pattern[str], Valid], ...] = (
    (
        re.compile(r"(?:BSN|burgerservicenummer)\W{0,3}(?:\w{1,8}\W{1,3}){0,2}(\d{4}[. ]?\d{2}[. ]?\d{3})(?!\d)", re.I),
        bsn.is_valid,
    ),
    (re.compile(r"NHS\W{0,3}(?:\w{1,8}\W{1,3}){0,3}(\d{3}[ -]?\d{3}[ -]?\d{4})(?!\d)", re.I), nhs.is_valid),
)


def national_ids(text: str) -> Iterator[tuple[int, int]]:
    """Give where such a number stands in a text."""
    for pattern, is_valid in FORMS:
        yield from (found.span() for found in pattern.finditer(text) if is_valid(found.group()))
    for pattern, is_valid in NAMED:
        yield from (found.span(1) for found in pattern.finditer(text) if is_valid(found.group(1)))
