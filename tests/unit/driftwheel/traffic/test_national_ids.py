"""Numbers of eight states, in the forms of their public descriptions, and numbers that are none."""

import pytest

from driftwheel.traffic.personal_data import redact

PEOPLE = [
    "meine Steuer-ID ist 36574261809",
    "Steuer-Identifikationsnummer 36 574 261 809, danke",
    "mon numéro de sécu : 1 84 12 76 451 089 46",
    "NIR 184127645108946",
    "mi DNI es 54362315K",
    "DNI: 54362315-K",
    "NIE X-2482300-W",
    "codice fiscale RCCMNL83S18D969H",
    "il mio cf: rccmnl83s18d969h",
    "PESEL 44051401359",
    "my social is 536-90-4399",
    "NI number AB 12 34 56 C",
    "national insurance: AB123456C",
    "mijn BSN is 1112.22.333",
    "burgerservicenummer 111222333",
    "NHS number 943 476 5870",
]
NOBODY = [
    "order 36574261808 has not come",
    "ticket 12345678901",
    "invoice 184127645108947",
    "part 54362315A",
    "serial ABCDEF12G34H567I",
    "call 111222333",
    "the parcel 943 476 5870",
    "on 2026-11-30 at 10:15",
    "version 1.2.3-45-6789",
    "536-90-439 units",
    "code OO 12 34 56 C",
    "sum of 1,112,223,330",
]


@pytest.mark.parametrize("text", PEOPLE)
def test_a_number_that_names_a_person_is_replaced(text: str) -> None:
    cleaned, found = redact(text)
    assert found == {"NATIONAL_ID": 1}
    assert "<NATIONAL_ID>" in cleaned
    assert not any(character.isdigit() for character in cleaned)


@pytest.mark.parametrize("text", NOBODY)
def test_a_number_that_names_nobody_stays(text: str) -> None:
    assert redact(text) == (text, {})
