"""What a rule forbids reaches neither the database nor its log nor an error, however it is written."""

import json
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError, DataError, RecordError
from driftwheel.identity import new_id
from driftwheel.records.nouns import Traffic
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import give_feedback, person
from driftwheel.traffic.log import TrafficLog
from driftwheel.traffic.redaction import is_drawn, keeping, rules_of
from tests.support.versions import answered_request

MAIL, CARD, TICKET = "jo.doe@example.com", "4111 1111 1111 1111", "T-123456"
Append = Callable[[TrafficLog, Traffic], "Future[None]"]
ROW = answered_request(
    "req_1",
    prompt=f"i am {MAIL}",
    request=json.dumps({"messages": [{"role": "user", "content": f"i am {MAIL}, {TICKET}"}]}),
    answer=f"your card {CARD}",
    error=f"no {MAIL}",
    user_id=MAIL,
    conversation_id=f"about {TICKET}",
    latency_seconds=0,
    response='{"tokens": ["jo.doe", "@example.com"]}',
)


def redacting(settings: Settings, **changes: Any) -> Settings:
    values = {"redact": ["email", "card"], "redact_patterns": {"TICKET": "T-[0-9]{6}"}, **changes}
    return settings.model_copy(update={"traffic": settings.traffic.model_copy(update=values)})


def test_a_long_number_hides_no_escaped_mail(settings: Settings) -> None:
    rules = rules_of(settings.traffic.model_copy(update={"redact": ["email"]}))
    assert rules is not None
    cleaned = rules.clean(f'{{"n": {"9" * 5000}, "from": "jo\\u002edoe\\u0040example.com"}}')
    assert "example" not in cleaned
    assert "<EMAIL>" in cleaned
    assert rules.clean("[" * 100_000) == ""


def test_no_file_of_the_ledger_ever_holds_what_a_rule_forbids(
    settings: Settings, ledger: Ledger, tmp_path: Path, capfd: pytest.CaptureFixture[str], append: Append
) -> None:
    settings = redacting(settings)
    log = TrafficLog(ledger, keeping(settings.traffic))
    append(log, ROW).result(60)
    with pytest.raises(Exception, match="already in the ledger"):
        append(log, ROW).result(60)
    with pytest.raises(RecordError):
        append(log, replace(ROW, id="req_2", prompt_tokens=2**70)).result(60)
    give_feedback(
        settings.traffic, ledger, settings.project, "req_1", author=person("Ada"), correction=json.dumps({"mail": MAIL})
    )
    log.close()
    (row,) = ledger.find(Traffic)
    assert (row.prompt, row.answer, row.error) == ("i am <EMAIL>", "your card <CARD>", "no <EMAIL>")
    assert (row.label, row.response) == ('{"mail": "<EMAIL>"}', None)
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()) + capfd.readouterr().err.encode()
    assert b"your card <CARD>" in written, "the write-ahead log is one of those files"
    for text in (MAIL, "jo.doe", CARD, "4111", TICKET, "123456"):
        assert text.encode() not in written


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ('{"a": "jo.doe\\u0040example.com"}', '{"a": "<EMAIL>"}'),
        ('{"jo.doe@example.com": 1}', '{"<EMAIL>": 1}'),
        ('{"card": 4111111111111111, "n": 2}', '{"card": "<CARD>", "n": 2}'),
        ('[{"arguments": "{\\"to\\": \\"a\\\\u0040b.com\\"}"}]', '[{"arguments": "{\\"to\\": \\"<EMAIL>\\"}"}]'),
        ("{not JSON, jo.doe@example.com", "{not JSON, <EMAIL>"),
        ('{ "a":1.0,  "b":"\\u00e9" }', '{ "a":1.0,  "b":"\\u00e9" }'),
        ("[" * 100_000, ""),
        ("call +44 20 7946 0958", "call +44 20 7946 0958"),
    ],
    ids=["escape", "key", "number", "JSON in JSON", "no JSON", "nothing found", "too deep", "a kind not asked for"],
)
def test_a_rule_finds_it_however_it_is_written(settings: Settings, text: str, cleaned: str) -> None:
    rules = rules_of(redacting(settings).traffic)
    assert rules is not None
    assert rules.clean(text) == cleaned


def test_rows_of_one_user_stay_together_without_the_name(settings: Settings) -> None:
    rules = rules_of(redacting(settings).traffic)
    assert rules is not None
    assert rules.clean_name("u1") == "u1"
    assert rules.clean_name(MAIL) == rules.clean_name(MAIL) != rules.clean_name("ann@example.com")
    assert "jo" not in rules.clean_name(MAIL)


def test_a_row_on_which_the_rules_fail_is_not_written_and_says_nothing_of_itself(
    ledger: Ledger, append: Append
) -> None:
    def fail(row: Traffic) -> Traffic:
        raise ValueError(row.prompt)

    log = TrafficLog(ledger, fail)
    with pytest.raises(DataError) as failed:
        append(log, ROW).result(60)
    log.close()
    assert MAIL not in str(failed.value)
    assert ledger.count(Traffic) == 0


def test_a_share_of_the_requests_is_logged_and_the_id_says_which(
    settings: Settings, ledger: Ledger, append: Append
) -> None:
    ids = [new_id("req", n) for n in range(3000)]
    sampled = settings.model_copy(update={"traffic": settings.traffic.model_copy(update={"share": 0.2})})
    log = TrafficLog(ledger, keeping(sampled.traffic))
    wait([append(log, replace(ROW, id=request_id)) for request_id in ids])
    log.close()
    kept = {row.id for row in ledger.find(Traffic)}
    assert kept == {request_id for request_id in ids if is_drawn(request_id, 0.2)}
    assert abs(len(kept) - 600) < 100  # 4.6 standard deviations


def test_a_body_is_kept_unless_the_settings_say_no(settings: Settings) -> None:
    assert keeping(settings.traffic) is None
    without = settings.model_copy(update={"traffic": settings.traffic.model_copy(update={"keep_responses": False})})
    keep = keeping(without.traffic)
    assert keep is not None
    assert keep(ROW) == replace(ROW, response=None)


@pytest.mark.parametrize(
    ("value", "message"),
    [("{A: '('}", "no regular expression"), ("{A: 'x*'}", "empty text")],
    ids=["broken", "matches nothing"],
)
def test_a_pattern_that_cannot_work_is_refused(settings: Settings, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(settings.path, [f"traffic.redact_patterns={value}"], environ={})
