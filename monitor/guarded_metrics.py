"""Serves metrics over HTTP, to other machines only for a key with the scope `read`."""

import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from driftwheel.callers.exposure import check_listener
from driftwheel.callers.key_holders import bearer, has_keys, holder_of
from driftwheel.errors import ConflictError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.ledger import Ledger

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


Application = Callable[..., Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a scrape, none of which holds up the end of the process."""

    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape every few seconds would fill the log."""


def serve_metrics(settings: MonitorSettings, ledger: Ledger, project: str, registry: CollectorRegistry) -> WSGIServer:
    """Serve /metrics on monitor.host and monitor.port.

    Raises ConflictError if the port is taken, ConfigError if others could reach it without a key.
    """
    host, port = settings.host, settings.port
    check_listener("monitor", host, is_required=settings.require_key, has_keys=has_keys(ledger, project))
    app: Application = make_wsgi_app(registry)
    asked = _asking_for_key(app, ledger, project) if settings.require_key else app
    try:
        server = make_server(host, port, asked, _Server6 if ":" in host else _Server, _Quiet)
    except OSError as error:
        raise ConflictError(
            f"cannot listen on {host}:{port}: {error.strerror}; set monitor.port to a free one"
        ) from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _asking_for_key(app: Application, ledger: Ledger, project: str) -> Application:
    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        key = bearer(environ.get("HTTP_AUTHORIZATION", ""))
        holder = holder_of(ledger, project, key, utc_now()) if key else None
        if holder is not None and Scope.READ in holder.scopes:
            return app(environ, start_response)
        status = HTTPStatus.UNAUTHORIZED if holder is None else HTTPStatus.FORBIDDEN
        headers = [("content-type", "text/plain"), ("www-authenticate", "Bearer")]
        start_response(f"{status.value} {status.phrase}", headers)
        return [b"metrics need a key with the scope read\n"]

    return guarded
