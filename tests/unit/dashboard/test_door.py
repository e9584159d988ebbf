"""The dashboard's door: other sites read and press nothing, and who comes in from elsewhere has shown a key."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from dashboard.door import Door
from dashboard.sign_in import CALLER_HEADER, MOST_OF_A_KEY, SESSION_HOURS, Sessions
from dashboard.web_server import build_app, guarded
from driftwheel.callers.api_keys import KEYS_VARIABLE, create_key, disable_key, rotate_key
from driftwheel.errors import ConfigError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import DashboardSettings
from driftwheel.store.ledger import Ledger

OWN = {"host": "127.0.0.1:8501"}
PAGE = {"accept": "text/html"}


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"secret of {request.headers.get(CALLER_HEADER, 'nobody')}")


async def press(socket: WebSocket) -> None:
    await socket.accept()
    async for button in socket.iter_text():
        await socket.send_text(f"pressed {button} as {socket.headers.get(CALLER_HEADER)}")


def client_of(sessions: Sessions | None = None, names: tuple[str, ...] = ("dash.example",)) -> TestClient:
    app = Starlette(routes=[Route("/", page), Route("/login", page), WebSocketRoute("/_stcore/stream", press)])
    return TestClient(Door(app, names, sessions), base_url="http://127.0.0.1:8501", follow_redirects=False)


def can_press(client: TestClient, headers: Mapping[str, str]) -> bool:
    try:
        with client.websocket_connect("/_stcore/stream", headers=dict(headers)) as socket:
            socket.send_text("promote")
            return socket.receive_text().startswith("pressed")
    except WebSocketDisconnect:
        return False


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8501"},
        {"host": "evil.example:8501", "origin": "http://evil.example:8501"},
        {"host": "127.0.0.1.nip.example"},
        {"host": "localhost.evil.example"},
        {"host": ""},
        {"host": "127.0.0.1:8501@evil.example"},
        {"host": "127.0.0.1:8501/x"},
        {"host": "127.0.0.1:x"},
        OWN | {"origin": "http://evil.example"},
        OWN | {"origin": "null"},
        OWN | {"origin": "http://127.0.0.1:3000"},
        OWN | {"origin": "http://localhost:8501"},
        OWN | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        OWN | {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        OWN | {"x-forwarded-for": "203.0.113.9"},
        OWN | {"forwarded": "for=203.0.113.9"},
    ],
)
def test_a_page_of_another_site_reads_and_presses_nothing(headers: dict[str, str]) -> None:
    client = client_of()
    answer = client.get("/", headers=headers)
    assert answer.status_code == 403
    assert "secret" not in answer.text
    assert not can_press(client, headers)


@pytest.mark.parametrize(
    "headers",
    [
        OWN,
        OWN | {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "same-origin", "sec-fetch-mode": "websocket"},
        {"host": "localhost:8501", "origin": "http://localhost:8501"},
        {"host": "[::1]:8501", "origin": "http://[::1]:8501"},
        {"host": "192.168.0.7:8501"},
        {"host": "dash.example", "origin": "https://dash.example"},
        {"host": "DASH.example."},
        OWN | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_its_own_pages_do(headers: dict[str, str]) -> None:
    client = client_of()
    answer = client.get("/", headers=headers)
    assert answer.text == "secret of nobody"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert can_press(client, headers)


def test_without_the_door_another_site_reads_and_presses() -> None:
    """What is refused above would be done else."""
    app = Starlette(routes=[Route("/", page), WebSocketRoute("/_stcore/stream", press)])
    client, foreign = TestClient(app), {"host": "evil.example", "origin": "http://evil.example"}
    assert "secret" in client.get("/", headers=foreign).text
    assert can_press(client, foreign)


def test_the_real_pages_are_behind_it(ledger: Ledger, settings: Settings) -> None:
    app = guarded(settings.dashboard, ledger, settings.project, build_app(ledger, settings.project, settings.root))
    with TestClient(app, base_url="http://127.0.0.1:8501") as client:
        assert client.get("/").status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        with client.websocket_connect("/_stcore/stream", headers=OWN | {"origin": "http://127.0.0.1:8501"}):
            pass
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/_stcore/stream", headers=OWN | {"origin": "http://evil.example"}),
        ):
            pass


@pytest.fixture
def sessions(ledger: Ledger, settings: Settings) -> Sessions:
    return Sessions(ledger, settings.project)


def key_with(ledger: Ledger, settings: Settings, *scopes: Scope, name: str = "ann") -> str:
    return create_key(ledger, settings.project, name, scopes)[1]


def test_who_has_shown_a_key_is_known_by_its_name(ledger: Ledger, settings: Settings, sessions: Sessions) -> None:
    client, key = client_of(sessions), key_with(ledger, settings, Scope.READ)
    asked = client.get("/", headers=PAGE)
    assert asked.status_code == 401
    assert "API key" in asked.text
    assert "secret" not in asked.text
    assert not can_press(client, OWN)
    answer = client.post("/login", data={"key": key})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert key not in cookie
    assert all(word in cookie for word in ("HttpOnly", "SameSite=lax", "driftwheel_support="))
    assert client.get("/").text == "secret of support/ann"
    assert client.get("/", headers={CALLER_HEADER: "support/root"}).text == "secret of support/ann"
    assert can_press(client, OWN | {"cookie": f"driftwheel_support={client.cookies['driftwheel_support']}"})
    client.get("/logout")
    assert client.get("/").status_code == 401


def test_without_keys_nobody_has_a_name() -> None:
    assert client_of().get("/", headers={CALLER_HEADER: "support/root"}).text == "secret of nobody"


@pytest.mark.parametrize("scopes", [[Scope.ASK], [Scope.FEEDBACK], [Scope.ASK, Scope.FEEDBACK]])
def test_a_key_for_asking_the_model_opens_no_door(
    ledger: Ledger, settings: Settings, sessions: Sessions, scopes: list[Scope]
) -> None:
    client, key = client_of(sessions), key_with(ledger, settings, *scopes)
    for tried in (key, "", "x" * 5000, "dwk_unknown"):
        assert client.post("/login", data={"key": tried}).status_code == 403
    assert client.get("/").status_code == 401


def test_the_end_of_a_key_is_the_end_of_what_was_opened_with_it(
    ledger: Ledger, settings: Settings, sessions: Sessions
) -> None:
    client, key = client_of(sessions), key_with(ledger, settings, Scope.OPERATE)
    client.post("/login", data={"key": key})
    signed_in = OWN | {"cookie": f"driftwheel_support={client.cookies['driftwheel_support']}"}
    with client.websocket_connect("/_stcore/stream", headers=signed_in) as socket:
        socket.send_text("promote")
        assert socket.receive_text() == "pressed promote as support/ann"
        disable_key(ledger, settings.project, "ann")
        socket.send_text("promote")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    assert client.get("/").status_code == 401
    assert client.post("/login", data={"key": key}).status_code == 403


def test_a_session_ends_by_itself_and_a_rotated_key_opens_no_new_one(
    ledger: Ledger, settings: Settings, sessions: Sessions
) -> None:
    key, now = key_with(ledger, settings, Scope.READ), utc_now()
    token = sessions.sign_in(key, now) or ""
    assert sessions.holder(token, now + timedelta(hours=SESSION_HOURS - 1)) is not None
    assert sessions.holder(token, now + timedelta(hours=SESSION_HOURS)) is None
    _, new = rotate_key(ledger, settings.project, "ann", timedelta(hours=1))
    assert sessions.sign_in(key, now) is not None
    assert sessions.sign_in(key, now + timedelta(hours=2)) is None
    assert sessions.sign_in(new, now + timedelta(hours=2)) is not None


def test_one_key_pushes_out_no_session_of_another(ledger: Ledger, settings: Settings, sessions: Sessions) -> None:
    now = utc_now()
    ben = sessions.sign_in(key_with(ledger, settings, Scope.OPERATE, name="ben"), now) or ""
    key = key_with(ledger, settings, Scope.READ)
    of_ann = [sessions.sign_in(key, now) or "" for _ in range(MOST_OF_A_KEY + 1)]
    good = [token for token in (ben, *of_ann) if sessions.holder(token, now) is not None]
    assert good == [ben, *of_ann[1:]], "the oldest of the same key goes, and nobody else's"
    later = now + timedelta(hours=SESSION_HOURS)
    assert sessions.sign_in(key, later)
    assert sessions.count == 1, "sessions that have ended take no place"


def test_another_sites_form_signs_nobody_in(ledger: Ledger, settings: Settings, sessions: Sessions) -> None:
    client, key = client_of(sessions), key_with(ledger, settings, Scope.READ)
    assert client.post("/login", data={"key": key}, headers={"origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": "0.0.0.0"}, r"dashboard\.host 0\.0\.0\.0 is reachable from other machines"),
        ({"allowed_hosts": ["dash.example"]}, r"reachable from other machines"),
        ({"require_key": True}, r"dashboard\.require_key is on and there is no key"),
        ({"host": "0.0.0.0", "require_key": True}, r"dashboard\.require_key is on and there is no key"),
    ],
)
def test_an_open_dashboard_is_not_started(
    ledger: Ledger, settings: Settings, changes: dict[str, object], said: str
) -> None:
    dashboard = DashboardSettings.model_validate(changes)
    with pytest.raises(ConfigError, match=said):
        guarded(dashboard, ledger, settings.project, Starlette())
    if "require_key" in changes:
        key_with(ledger, settings, Scope.READ)
        guarded(dashboard, ledger, settings.project, Starlette())


def test_a_weak_key_of_the_environment_opens_nothing(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, "changeme")
    with pytest.raises(ConfigError, match="weak"):
        guarded(DashboardSettings(require_key=True), ledger, settings.project, Starlette())
