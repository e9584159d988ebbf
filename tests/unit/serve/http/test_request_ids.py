"""Ids of requests sort by time and do not repeat."""

import re
from datetime import UTC, datetime

from serve.http.request_ids import RequestIds


def test_ids_sort_by_time_and_differ() -> None:
    ids = RequestIds()
    made = [ids.make() for _ in range(2000)]
    assert len(set(made)) == len(made)
    stamps = [one.split("_")[1] for one in made]
    assert stamps == sorted(stamps)


def test_an_id_says_when_it_was_made() -> None:
    before = datetime.now(UTC)
    match = re.fullmatch(r"req_(\d{8}T\d{6})(\d{3})_[0-9a-f]{8}", RequestIds().make())
    assert match is not None
    made = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC, microsecond=int(match[2]) * 1000)
    assert 0 <= (made - before.replace(microsecond=before.microsecond // 1000 * 1000)).total_seconds() < 60
