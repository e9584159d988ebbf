"""What every test may use: settings on a temporary folder and the ledger that they name.

A test marked `every_database` runs once on SQLite and once on PostgreSQL, if it uses either.
"""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import yaml

from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.absent import absent
from tests.support.postgres_server import PostgresServer, find_programs

# An example that takes long says how busy the machine is. In CI Hypothesis has such a profile, which stays the base.
hypothesis.settings.register_profile(
    "any machine", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests marked `every_database` on each."""
    if metafunc.definition.get_closest_marker("every_database") and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the tests' own; a laptop without one skips, CI fails."""
    programs = find_programs()
    if programs is None:
        absent("PostgreSQL", install="Debian's package postgresql")
    # Killed it may be, but the machine's power stays: syncs would only make each test wait for the disk.
    server = PostgresServer(programs, is_durable=False)
    yield server
    server.remove()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of an empty database; None is SQLite in the storage folder."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None) -> Settings:
    """Settings of a loop named `support` whose storage is this test's folder."""
    (tmp_path / "seed.jsonl").write_text('{"prompt": "hello", "completion": "{}"}\n', encoding="utf-8")
    path = tmp_path / "driftwheel.yaml"
    raw = {
        "project": "support",
        "model": {"base": "base"},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
        "serve": {"alias": "support"},
        "storage": {"database_url": database_url},
    }
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_settings(path, environ={})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of those settings."""
    opened = Ledger(settings.database_url)
    yield opened
    opened.close()
