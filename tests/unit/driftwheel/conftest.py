"""What tests of the spine share."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from driftwheel.records.nouns import Traffic
from driftwheel.traffic.log import TrafficLog


@pytest.fixture
def append() -> Callable[[TrafficLog, Traffic], "Future[None]"]:
    """Append a row; the future is done once it is written, or holds the error."""

    def start(log: TrafficLog, row: Traffic) -> "Future[None]":
        future: Future[None] = Future()
        log.append(row, lambda error: future.set_exception(error) if error else future.set_result(None))
        return future

    return start
