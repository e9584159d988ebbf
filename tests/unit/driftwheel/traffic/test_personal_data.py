"""Personal data with a checksum or a plan behind it is found, numbers that only look like it are not."""

import time

import pytest

from driftwheel.traffic.personal_data import find_personal_data, redact


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to jo.doe+shop@mail.example.co.uk, please", "write to <EMAIL>, please"),
        ("my card 4111 1111 1111 1111 was charged", "my card <CARD> was charged"),
        ("my card 4111 1111 1111 1112 was charged", "my card 4111 1111 1111 1112 was charged"),
        ("pay to DE89 3704 0044 0532 0130 00 today", "pay to <IBAN> today"),
        ("pay to DE88 3704 0044 0532 0130 00 today", "pay to DE88 3704 0044 0532 0130 00 today"),
        ("call me at +44 20 7946 0958.", "call me at <PHONE>."),
        ("i added +5 items and 12+3", "i added +5 items and 12+3"),
        ("from 192.168.1.17 or 2001:db8::1 since 12:30:15", "from <IP> or <IP> since 12:30:15"),
        ("version 1.2.3.400, order 4471, $75.50 on 2026-01-03", "version 1.2.3.400, order 4471, $75.50 on 2026-01-03"),
    ],
    ids=["mail", "card", "no card", "iban", "no iban", "phone", "sums", "addresses", "numbers"],
)
def test_personal_data_is_replaced_and_nothing_else(text: str, redacted: str) -> None:
    assert redact(text)[0] == redacted


def test_pieces_are_counted_and_masked() -> None:
    text = "a@example.com, b@example.com and 4111111111111111"
    assert redact(text)[1] == {"EMAIL": 2, "CARD": 1}
    assert [piece.masked for piece in find_personal_data(text)] == ["a@...om", "b@...om", "41...11"]


@pytest.mark.parametrize("piece", ["a", "1", "1.1.1.", "b.", "+1-", "DE89 ", "4111-"])
def test_a_long_text_that_looks_like_data_everywhere_takes_no_more_than_linear_time(piece: str) -> None:
    def seconds(characters: int) -> float:
        began_at = time.process_time()
        redact("a@" + piece * (characters // len(piece)))
        return time.process_time() - began_at

    short, long = seconds(25_000), seconds(100_000)
    # A quadratic pattern takes sixteen times as long for it, half a minute; the rest is a busy processor's.
    assert long < 10 * max(short, 0.1)
