"""Who may open the page of `facectl watch`, and what may be asked of it."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from facectl.errors import InputError
from facectl.watch.hub import Hub
from facectl.watch.security import Access, is_loopback
from facectl.watch.server import make_app
from facectl.watch.state import WatchState

# ruff: noqa: S104 - addresses that are refused or need a token
TOKEN = "a-token-of-24-characters"
ACCESS = Access("127.0.0.1", 8123, TOKEN)
ORIGIN = "http://127.0.0.1:8123"


def client_of(access: Access = ACCESS, base: str = ORIGIN) -> TestClient:
    async def change(_: object) -> JSONResponse:
        return JSONResponse({"done": True})

    state = WatchState(Hub())
    state.add("clip.mp4", live=False, loops=False)
    state.pictures.keep(0, 3, b"\xff\xd8\xff picture")
    app = make_app(state, access, [Route("/actions/change", change, methods=["POST"])])
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.fixture
def client() -> TestClient:
    """A browser that has opened the address with the token."""
    client = client_of()
    assert client.get(f"/?token={TOKEN}").status_code == 303
    return client


def test_the_address_with_the_token_sets_a_cookie_that_scripts_and_other_sites_do_not_get() -> None:
    client = client_of()
    answer = client.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("facectl_watch_8123=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = client.get("/")
    assert page.status_code == 200
    assert TOKEN not in page.text


@pytest.mark.parametrize("path", ["/", "/app.js", "/events", "/picture/0/3", "/crop/x", "/nothing"])
@pytest.mark.parametrize("query", ["", "?token=wrong", "?token=", "?token=é"])
def test_nothing_is_served_without_the_token(path: str, query: str) -> None:
    answer = client_of().get(path + query)
    assert answer.status_code == 401
    assert "the address that facectl watch printed" in answer.text


def test_a_wrong_cookie_is_refused() -> None:
    client = client_of()
    client.cookies.set(ACCESS.cookie, "wrong")
    assert client.get("/").status_code == 401


def test_the_token_opens_only_the_page_itself(client: TestClient) -> None:
    stranger = client_of()
    assert stranger.get(f"/picture/0/3?token={TOKEN}").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8123", "127.0.0.1", "127.0.0.1:80", "user@127.0.0.1:8123",
     "192.168.1.4:8123", "127.0.0.1.evil.example:8123", "", "[::1", "127.0.0.1:port"],
)  # fmt: skip
def test_a_foreign_host_is_refused_with_the_cookie_too(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "LOCALHOST:8123"])
def test_the_names_of_this_computer_are_served(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999",
                                    "https://127.0.0.1:8123", "http://localhost:8123"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_origin_is_refused(client: TestClient, origin: str, method: str) -> None:
    answer = client.request(method, "/actions/change", headers={"origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_another_site_caused_is_refused(client: TestClient, site: str) -> None:
    assert client.get("/picture/0/3", headers={"sec-fetch-site": site}).status_code == 403


def test_a_change_needs_the_own_origin_and_post(client: TestClient) -> None:
    assert client.post("/actions/change", headers={"origin": ORIGIN}).json() == {"done": True}
    assert client.post("/actions/change").status_code == 403
    assert client.get("/actions/change").status_code == 405


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in ("/", "/app.js", "/picture/0/3", "/picture/0/4", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client_of().get("/").headers["content-security-policy"] == policy


def test_the_page_has_no_script_or_style_of_its_own(client: TestClient) -> None:
    text = client.get("/").text
    assert "<style" not in text
    assert "style=" not in text
    assert text.count("<script") == text.count('<script type="module" src="/app.js">') == 1
    assert "http" not in text


def test_pictures_are_found_or_gone(client: TestClient) -> None:
    found = client.get("/picture/0/3")
    assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
    # No error: a slow browser asks for what is no longer kept.
    assert client.get("/picture/0/9").status_code == 204
    assert client.get("/picture/5/3").status_code == 404
    assert client.get("/crop/nobody").status_code == 204
    assert client.get("/frame/0?at=1").status_code == 404
    assert client.get("/frame/5?at=1").status_code == 404
    assert client.get("/frame/0?at=never").status_code == 400
    assert client.get("/picture/x/3").status_code == 404


def test_another_host_needs_a_token() -> None:
    with pytest.raises(InputError, match="needs a token") as caught:
        Access.choose("0.0.0.0", 8123, None)
    assert "--token" in (caught.value.hint or "")
    with pytest.raises(InputError, match="at least 16"):
        Access.choose("0.0.0.0", 8123, "short")
    with pytest.raises(InputError, match="at least 16"):
        Access.choose("127.0.0.1", 8123, "ünicode-token-of-24-chars")
    assert Access.choose("0.0.0.0", 8123, TOKEN).token == TOKEN


def test_a_random_token_is_long_and_differs() -> None:
    tokens = {Access.choose("127.0.0.1", 1, None).token for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.168.1.4:8123", 200), ("10.0.0.1:8123", 200), ("localhost:8123", 200),
     ("evil.example:8123", 403), ("192.168.1.4:80", 403)],
)  # fmt: skip
def test_other_computers_reach_it_by_address_and_not_by_a_name_of_theirs(
    host: str, status: int
) -> None:
    access = Access("0.0.0.0", 8123, TOKEN)
    client = client_of(access)
    client.cookies.set(access.cookie, TOKEN)
    assert client.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8123/?token="), ("::1", "http://[::1]:8123/?token="),
     ("0.0.0.0", "http://127.0.0.1:8123/?token="), ("door.local", "http://door.local:8123/?token=")],
)  # fmt: skip
def test_the_address_can_be_opened(host: str, url: str) -> None:
    assert Access(host, 8123, TOKEN).url == url + TOKEN


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_loopback_is_this_computer(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
