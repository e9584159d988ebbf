"""One ASGI application: the Streamlit pages, and the stored Evidently reports inside a sandbox.

A report is drawn by third-party JavaScript from text that users wrote. Its answer carries a policy that gives
it an origin of its own and no network, so that it can neither read the dashboard nor call out.
"""

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from dashboard.door import Door
from dashboard.sign_in import Sessions
from driftwheel.callers.exposure import check_listener
from driftwheel.callers.key_holders import has_keys
from driftwheel.errors import ConflictError
from driftwheel.records.nouns import DriftSignal
from driftwheel.settings.watching import DashboardSettings
from driftwheel.store.ledger import Ledger

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from streamlit.starlette import App

APP = Path(__file__).with_name("app.py")
REPORT = "report.html"
CHECK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
REPORT_HEADERS = {
    "content-security-policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


def report_path(ledger: Ledger, project: str, root: Path, check_id: str) -> Path | None:
    """Return a check's report.html if the ledger knows the check and the file lies in the storage folder."""
    if not CHECK_ID.fullmatch(check_id):
        return None
    found = ledger.find(DriftSignal, project=project, check_id=check_id)
    folder = next((s.report_path for s in found if s.report_path), None)
    if folder is None:
        return None
    # The row may come from a restored copy: whatever it says, nothing outside of the storage folder is shown.
    path = (root / folder / REPORT).resolve()
    return path if path.is_file() and path.is_relative_to(root) else None


def build_app(ledger: Ledger, project: str, root: Path) -> "App":
    """Return the application: pages at /, reports at /reports/{check_id}."""
    # Only here: Streamlit takes a second to import, and `--help` or a wrong setting should be answered at once.
    from streamlit.starlette import App

    async def report(request: Request) -> Response:
        path = await run_in_threadpool(report_path, ledger, project, root, request.path_params["check_id"])
        if path is None:
            return PlainTextResponse("no report of this check", status_code=404, headers=REPORT_HEADERS)
        return FileResponse(path, media_type="text/html", headers=REPORT_HEADERS)

    return App(APP, routes=[Route("/reports/{check_id}", report)])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises ConflictError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # A restart need not wait until the connections of the process before it have timed out.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConflictError(
            f"the dashboard cannot listen on {host}:{port} ({error.strerror}); stop what does, or set dashboard.port"
        ) from error
    return listener


def guarded(settings: DashboardSettings, ledger: Ledger, project: str, app: "ASGIApp") -> Door:
    """Return the application behind its door; raises ConfigError if others could reach it without a key."""
    needs_key, has_any = settings.require_key, has_keys(ledger, project)
    is_shown = bool(settings.allowed_hosts)  # a name for it means that others come, over a proxy
    check_listener("dashboard", settings.host, is_required=needs_key, has_keys=has_any, is_shown=is_shown)
    names = [settings.host, *settings.allowed_hosts]
    return Door(app, names, Sessions(ledger, project) if needs_key else None)


def serve(settings: DashboardSettings, ledger: Ledger, project: str, root: Path, listener: socket.socket) -> None:
    """Answer on a listening socket until SIGINT or SIGTERM."""
    app = guarded(settings, ledger, project, build_app(ledger, project, root))
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
