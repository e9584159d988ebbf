"""Two gateway processes on one PostgreSQL: a short form of tests.suites.several_gateways, with its planted bug."""

from pathlib import Path

from tests.suites.several_gateways import PATIENCE_SECONDS, measure
from tests.support.postgres_server import PostgresServer


def test_two_gateways_lose_nothing_and_agree_while_the_one_that_conducts_is_killed(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    found, rows = measure(tmp_path, postgres_server, flips=2, crashes=1)
    assert found.faults == []
    assert found.failed == 0
    assert rows.acknowledged > 500
    assert (rows.lost, rows.doubled, rows.different) == (0, 0, 0)
    assert max(found.keys_known + found.keys_disabled) < PATIENCE_SECONDS
    assert found.alone["kill the conductor"] < PATIENCE_SECONDS


def test_two_gateways_that_have_one_engine_each_swap_its_weights(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    found, rows = measure(tmp_path, postgres_server, flips=2, crashes=1, engines="only")
    assert (found.faults, found.failed) == ([], 0)
    assert rows.acknowledged > 300
    assert (rows.lost, rows.doubled, rows.different) == (0, 0, 0)
    assert len(found.flips) == 3


def test_the_same_flips_find_gateways_that_all_conduct(postgres_server: PostgresServer, tmp_path: Path) -> None:
    found, _ = measure(tmp_path, postgres_server, flips=1, crashes=0, plant="conductors")
    assert any("went live 2 times" in fault for fault in found.faults)
