"""Signing in with a browser: by password, key or link; the cookie; and the page's own headers."""

import re

import httpx
import pytest

from app.api.web.pages import STATIC, early_links, read_build
from app.services.people.sessions import Sessions

SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def visitor(api):
    with httpx.Client(base_url=api.url, headers=SAME, timeout=30) as client:
        yield client


def test_a_password_gives_a_cookie_that_signs_calls(ada, visitor) -> None:
    assert visitor.get("/session").json()["user"] is None
    answer = visitor.post("/session", json={"username": "ada", "password": "correct horse battery"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert visitor.get("/session").json()["user"]["username"] == "ada"
    assert visitor.get("/v1/account").json()["username"] == "ada"
    assert visitor.delete("/session").status_code == 204
    assert visitor.get("/session").json()["user"] is None


def test_a_key_signs_in_with_its_own_scopes(make_person, visitor) -> None:
    person = make_person(scopes=("predict",))
    user = visitor.post("/session", json={"key": person.key}).json()["user"]
    assert (user["scopes"], user["by_key"]) == (["predict"], True)
    assert visitor.post("/v1/models", json={"name": "x"}).status_code == 403


def test_a_link_signs_in_once(ada, api, visitor) -> None:
    sessions: Sessions = api.services.people.sessions
    link = sessions.issue_link("ada")
    assert visitor.get("/v1/account", headers={"Authorization": f"Bearer {link}"}).status_code == 401
    assert visitor.post("/session", json={"link": link}).json()["user"]["username"] == "ada"
    again = visitor.post("/session", json={"link": link})
    assert again.status_code == 401
    assert "used already" in again.json()["detail"]


def test_signing_out_everywhere_ends_the_cookie_and_unused_links(ada, api, visitor) -> None:
    link = api.services.people.sessions.issue_link("ada")
    visitor.post("/session", json={"username": "ada", "password": "correct horse battery"})
    assert visitor.post("/v1/account/sign-out").status_code == 204
    assert visitor.get("/session").json()["user"] is None
    assert visitor.post("/session", json={"link": link}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ],
)
def test_another_site_neither_acts_with_the_cookie_nor_signs_anybody_in(ada, api, visitor, headers) -> None:
    body = {"username": "ada", "password": "correct horse battery"}
    visitor.post("/session", json=body)
    with httpx.Client(base_url=api.url, cookies=visitor.cookies, headers=headers) as other:
        assert other.post("/v1/models", json={"name": "planted"}).status_code == 401
        assert other.post("/session", json=body).status_code == 403
        assert other.delete("/session").headers.get("set-cookie") is None


def test_an_origin_of_our_own_is_ours_where_browsers_say_no_more(ada, api, visitor) -> None:
    visitor.post("/session", json={"username": "ada", "password": "correct horse battery"})
    with httpx.Client(base_url=api.url, cookies=visitor.cookies, headers={"Origin": api.url}) as other:
        assert other.post("/v1/models", json={"name": "own"}).status_code == 201


@pytest.mark.parametrize("body", [{}, {"username": "ada"}, {"key": "k", "link": "l"}, {"key": "lov_no"}])
def test_a_sign_in_that_is_none_is_refused_with_a_sentence(visitor, body) -> None:
    answer = visitor.post("/session", json=body)
    assert answer.status_code in (401, 422)
    assert answer.json()["detail"]
    assert "set-cookie" not in answer.headers


def test_a_browser_gets_the_page_at_every_address_of_the_app_and_a_client_gets_json(api) -> None:
    html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with httpx.Client(base_url=api.url) as client:
        for address in ("/", "/models", "/models/demo/echo", "/p/x", "/fleet", "/sign-in"):
            page = client.get(address, headers=html)
            assert page.headers["content-type"].startswith("text/html"), address
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert client.get("/").json()["name"] == "Lovage"
        assert client.get("/models").status_code == 404
        assert client.get("/nowhere", headers=html).status_code == 404


def test_below_a_path_the_page_and_its_cookie_stay_below_it(start_server, ada) -> None:
    server = start_server(public_url="https://ml.example/lovage")
    with httpx.Client(base_url=server.url, headers=SAME) as client:
        page = client.get("/", headers={"Accept": "text/html"}).text
        assert '<base href="/lovage/">' in page
        assert 'src="assets/app.js?v=' in page
        body = {"username": "ada", "password": "correct horse battery"}
        cookie = client.post("/session", json=body).headers["set-cookie"]
    assert "Path=/lovage/" in cookie
    assert "Secure" in cookie


def test_a_script_is_kept_for_ever_by_its_builds_tag_and_refused_by_anothers(api) -> None:
    build = read_build()
    assert {"core.js", "model.js"} <= build.scripts
    with httpx.Client(base_url=api.url) as client:
        kept = client.get("/assets/model.js", params={"v": build.tag})
        assert "immutable" in kept.headers["cache-control"]
        assert client.get("/assets/model.js").headers["cache-control"] == "no-cache"
        assert client.get("/assets/model.js", params={"v": "older"}).status_code == 404
        # What the page itself names is sent to whoever asks: an old page without it would stay empty.
        assert client.get("/assets/app.js", params={"v": "older"}).headers["cache-control"] == "no-cache"
        assert client.get("/assets/build.json").status_code == 404


def test_scripts_name_each_other_by_one_tag_and_nothing_names_the_first() -> None:
    build = read_build()
    files = {file.name: file.read_text() for file in STATIC.glob("*.js")}
    assert set(files) == {"app.js", *build.scripts}
    for name, text in files.items():
        named = re.findall(r"[\"'`]\./([\w-]+\.js)(\?v=[0-9a-f]+)?[\"'`]", text)
        assert {tag for _, tag in named} <= {f"?v={build.tag}"}, name
        assert {file for file, _ in named} <= build.scripts, name


@pytest.mark.parametrize(
    ("path", "calls", "script"),
    [
        ("", ["session"], "home.js"),
        ("models/demo/words", ["session", "v1/models/demo/words"], "model.js"),
        ("models/new", ["session"], "new-model.js"),
        ('models/a"b/c', ["session"], "model.js"),
        ("p/01k", ["session"], "prediction.js"),
        ("fleet", ["session"], "chart.js"),
        ("nowhere", ["session"], "core.js"),
    ],
)
def test_a_page_names_early_what_its_first_view_asks_for(path, calls, script) -> None:
    links = early_links(path, read_build())
    assert re.findall(r'as="fetch" href="([^"]*)"', links) == calls
    assert f'rel="modulepreload" href="assets/{script}?v=' in links
