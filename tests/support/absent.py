"""A service that is not on this machine skips its tests on a laptop and fails them in CI."""

import os
from typing import NoReturn

import pytest


def absent(service: str, *, install: str) -> NoReturn:
    """End a test that needs a service; `install` says what brings it."""
    if os.environ.get("CI"):
        pytest.fail(f"{service} is not here, and CI must have it: {install}")
    pytest.skip(f"{service} is not on this machine: {install}")
