"""A sample of tests/suites/auth.py: nobody gets past the keys, and the suite notices a gateway that is broken."""

from pathlib import Path

import pytest
import uvloop

from tests.suites.auth import PLANTS, examine, far_address, report
from tests.support.absent import absent
from tests.support.auth_cases import vllm_routes


def test_no_spelling_of_a_route_gets_past_the_keys(tmp_path: Path) -> None:
    found = uvloop.run(examine(1500, 11, tmp_path))
    assert found.is_clean, report(found, 11)
    assert found.tried["allowed"] > 20
    assert len(vllm_routes()) > 60


@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_a_broken_gateway_is_noticed(tmp_path: Path, plant: str) -> None:
    if plant == "believe-forwarded-for" and far_address() is None:
        absent("an address that is not loopback", install="a network interface")
    found = uvloop.run(examine(2000, 15, tmp_path, PLANTS[plant]))
    assert found.bypasses, "the suite is blind to this mistake"
