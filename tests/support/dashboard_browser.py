"""A running dashboard on a seeded loop, and the Chromium that opens it."""

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.absent import absent

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 60
SEED = Path(__file__).parents[1] / "browser" / "seed.py"


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A dashboard that answers at an address, and the loop that it shows."""

    address: str
    settings: Settings
    ledger: Ledger
    ids: dict[str, str]


def chromium_path() -> str:
    """Return the browser's program; a laptop without one skips, CI fails."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        absent("Chromium", install="Debian's package chromium")
    return path


def seed_module() -> ModuleType:
    """Return the builder of a loop with every noun."""
    spec = importlib.util.spec_from_file_location("dashboard_seed", SEED)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def dashboard_on(folder: Path) -> Iterator[Dashboard]:
    """Serve the seeded loop in a folder until the block ends."""
    seed = seed_module()
    config = seed.write_settings(folder)
    settings = load_settings(config, environ={})
    ledger = Ledger(settings.database_url)
    ids = dict(seed.fill(settings, ledger))
    argv = [sys.executable, "-m", "dashboard", "--config", str(config), "--set", "dashboard.port=0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stderr=log, stdout=log)
        try:
            address = _address_in(folder / "log", process)
            yield Dashboard(address=address, settings=settings, ledger=ledger, ids=ids)
        finally:
            process.terminate()
            process.wait(60)
            ledger.close()


def _address_in(log: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"url"' in line:
                return str(json.loads(line)["url"])
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the dashboard did not start:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def tab_of(chromium: str) -> Iterator[Any]:
    """Give a tab of a new browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1440, "height": 1100})
        finally:
            browser.close()
