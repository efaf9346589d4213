"""Rows about who is calling: credentials, scopes, other people's things, passwords and guessing them,
idempotency keys."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import httpx
import orjson
from abuse_case import CREATE, Case, posts
from abuse_stage import MODEL, PASSWORD, Answer, Person, Stage

ACCOUNT, TOKEN, REGISTER, KEYS = "/v1/account", "/v1/auth/token", "/v1/auth/register", "/v1/keys"
BAD = (400, 401, 413, 422)
COMMON = (
    "secret",
    "password",
    "changeme",
    "your-256-bit-secret",
    "supersecret",
    "jwt_secret",
    "key",
    "123456",
    "test",
)
MB = 1 << 20


def scopes() -> Iterator[Case]:
    yield Case(
        "scopes",
        "a key for models only",
        lambda stage: each(only(stage, "models"), PREDICTING),
        (403,),
        says="predict",
    )
    yield Case(
        "scopes",
        "a key for predictions only",
        lambda stage: each(only(stage, "predict"), MODELLING),
        (403,),
        says="models",
    )
    yield Case("scopes", "a user at an administrator's", lambda stage: each(stage.ada, GOVERNING), (403,))
    yield Case(
        "scopes",
        "a key that makes keys",
        lambda stage: stage.ada.post(KEYS, {"name": "x", "scopes": ["predict"]}),
        (403,),
    )
    yield Case(
        "scopes",
        "an administrator's key without the scope",
        lambda stage: each(lesser(stage), GOVERNING),
        (403,),
    )
    yield posts("scopes", "a scope that is none", {"name": "x", "scopes": ["root"]}, (422, 403), path=KEYS)


PREDICTING = [
    ("POST", CREATE, {"version": MODEL, "input": {"text": "x"}}),
    ("GET", CREATE, None),
    ("GET", "/v1/files", None),
    ("POST", "/v1/completions", {"model": "demo/words", "prompt": "x"}),
]
MODELLING = [
    ("POST", "/v1/models", {"name": "x"}),
    ("DELETE", "/v1/models/ada/echo", None),
    ("POST", "/v1/models/ada/echo/versions", {"runtime": "echo"}),
    ("PATCH", "/v1/models/ada/echo", {"description": "x"}),
]
GOVERNING = [
    ("GET", "/v1/audit", None),
    ("POST", "/v1/models", {"owner": "demo", "name": "x"}),
    ("POST", "/v1/users", {"email": "x@example.com", "username": "x"}),
    ("PATCH", "/v1/users/ada", {"is_admin": True}),
    ("PUT", "/v1/users/root/password", {}),
    ("DELETE", "/v1/users/grace", None),
]


def each(person: Person, calls: list[tuple[str, str, Any]]) -> Iterator[Answer]:
    for method, path, body in calls:
        yield person.call(method, path, None if body is None else orjson.dumps(body))


def only(stage: Stage, scope: str) -> Person:
    return stage.person(f"only-{scope}", scopes=(scope,))


def lesser(stage: Stage) -> Person:
    return stage.person("lesser", admin=True, scopes=("predict", "models"))


def others() -> Iterator[Case]:
    yield Case("other-people", "a prediction, its end, its deliveries", others_prediction, (404,))
    yield Case("other-people", "a file", others_file, (404,))
    yield Case("other-people", "a private model", private_model, (404,))
    yield Case(
        "other-people",
        "a public model, to change",
        lambda stage: each(stage.person("eve"), MODELLING[1:]),
        (403, 404),
    )
    yield Case("other-people", "a key", others_key, (404, 403))
    yield Case("other-people", "lists", lists_of_a_stranger, (200,))


def others_prediction(stage: Stage) -> Iterator[Answer]:
    eve, body = (
        stage.person("eve"),
        {"version": MODEL, "input": {"text": "Ada's"}, "webhook": "https://example.com/hook"},
    )
    made = stage.ada.post(CREATE, body).json()
    path = f"{CREATE}/{made['id']}"
    for method, ending in (
        ("GET", ""),
        ("POST", "/cancel"),
        ("DELETE", ""),
        ("GET", "/deliveries"),
        ("POST", "/redeliver"),
        ("POST", f"/deliveries/msg_{made['id']}_completed/redeliver"),
    ):
        answer = eve.call(method, path + ending)
        assert b"Ada's" not in answer.body
        yield answer
    yield eve.call("GET", f"/v1/streams/{made['id']}")
    assert stage.ada.call("GET", path).json()["status"] != "canceled"


def others_file(stage: Stage) -> Iterator[Answer]:
    made = stage.ada.call("POST", "/v1/files", files={"content": ("a.txt", b"Ada's")}).json()
    for method, ending in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        yield stage.person("eve").call(method, f"/v1/files/{made['id']}{ending}")
    assert stage.ada.call("GET", f"/v1/files/{made['id']}/content").body == b"Ada's"


def private_model(stage: Stage) -> Iterator[Answer]:
    eve, path = stage.person("eve"), "/v1/models/ada/private"
    made = stage.ada.post(
        "/v1/models", {"name": "private", "visibility": "private", "version": {"runtime": "echo"}}
    ).json()
    version = made["latest_version"]["id"]
    for ending in ("", "/readme", "/examples", "/versions", f"/versions/{version}"):
        yield eve.call("GET", path + ending)
    for reference in ("ada/private", version, f"ada/private:{version}"):
        yield eve.post(CREATE, {"version": reference, "input": {"text": "x"}})
    yield eve.post(f"{path}/predictions", {"input": {"text": "x"}})
    for method, ending in (("PATCH", ""), ("DELETE", ""), ("DELETE", f"/versions/{version}")):
        yield eve.call(method, path + ending, b"{}" if method == "PATCH" else None)
    yield eve.call("POST", f"{path}/versions", b'{"runtime": "echo"}')
    assert b"ada/private" not in eve.call("GET", "/v1/models").body
    assert stage.ada.call("GET", path).status == 200


def others_key(stage: Stage) -> Iterator[Answer]:
    root = stage.person("root", admin=True)
    made = root.post(KEYS, {"name": "x", "scopes": ["predict"]}).json()
    yield stage.ada.call("DELETE", f"{KEYS}/{made['id']}")
    assert made["id"] in root.call("GET", KEYS).body.decode()


def lists_of_a_stranger(stage: Stage) -> Iterator[Answer]:
    stranger = stage.person("stranger")
    for path in (CREATE, "/v1/files"):
        answer = stranger.call("GET", path)
        assert answer.json()["results"] == []
        yield answer


def idempotency() -> Iterator[Case]:
    yield Case("idempotency", "the same body", lambda stage: same_key(stage, "k1", [stage.ada] * 3), (201,))
    yield Case("idempotency", "another body", other_body, (422,))
    yield Case(
        "idempotency",
        "twelve at once",
        lambda stage: same_key(stage, "k3", [stage.ada] * 12, at_once=True),
        (201,),
    )
    yield Case("idempotency", "another user", another_user, (201,))
    for key in ("", "a b", "x" * 256, "é", "a\tb"):
        headers = {"Idempotency-Key": key.encode()}
        act = lambda stage, headers=headers: stage.ada.post(CREATE, KEYED, headers=headers)  # noqa: E731
        yield Case("idempotency", f"a key that is none: {key[:3]!r}", act, (422,), says="Idempotency-Key")


KEYED = {"version": MODEL, "input": {"text": "x"}}


def with_key(person: Person, key: str, body: Any = KEYED) -> Answer:
    return person.post(CREATE, body, headers={"Idempotency-Key": key})


def same_key(stage: Stage, key: str, people: list[Person], at_once: bool = False) -> list[Answer]:
    with ThreadPoolExecutor(len(people) if at_once else 1) as threads:
        answers = list(threads.map(lambda person: with_key(person, key), people))
    assert len({answer.json()["id"] for answer in answers}) == 1
    return answers


def other_body(stage: Stage) -> Answer:
    assert with_key(stage.ada, "k2").status == 201
    return with_key(stage.ada, "k2", {"version": MODEL, "input": {"text": "y"}})


def another_user(stage: Stage) -> list[Answer]:
    answers = [with_key(person, "k4") for person in (stage.ada, stage.person("eve"))]
    assert answers[0].json()["id"] != answers[1].json()["id"]
    return answers


def sign_in(client: httpx.Client, name: str, password: str, address: str = "") -> Answer:
    headers = {"X-Forwarded-For": address, "X-Real-IP": address} if address else {}
    return Answer.of(client.post(TOKEN, data={"username": name, "password": password}, headers=headers))


def guessing() -> Iterator[Case]:
    yield Case("wrong-passwords", "40 for one account, from forged addresses", forty_for_one, (401, 429), 60)
    yield Case("wrong-passwords", "70 for 70 accounts, from one address", seventy_from_one, (401, 429), 60)
    yield Case("wrong-passwords", "40 at once", forty_at_once, (401, 429), 60)
    yield Case("wrong-passwords", "do not lock the owner out", owner_comes_in, (401, 429, 200), 60)
    yield Case("unknown-users", "say the same", unknown_user_says_the_same, (401,))
    yield Case("unknown-users", "take the same time", unknown_user_takes_as_long, (401,), 60, alone=True)


def ends_in_429(answers: list[Answer], most: int = 10) -> list[Answer]:
    assert answers[0].status == 401
    assert answers[-1].status == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert [answer.status for answer in answers].count(401) <= most
    return answers


def forty_for_one(stage: Stage) -> list[Answer]:
    """Each of its names is the same account."""
    stage.person("guessed")
    names = ("guessed", "GUESSED", "guessed@example.com")
    with stage.somebody() as client:
        answers = [sign_in(client, names[n % 3], f"wrong {n}", f"203.0.113.{n}") for n in range(40)]
        assert sign_in(client, "guessed", PASSWORD).status == 429, "the right one helps nobody either"
    return ends_in_429(answers)


def seventy_from_one(stage: Stage) -> list[Answer]:
    """Five times the limit, then one a second."""
    began = time.monotonic()
    with stage.somebody() as client:
        answers = [sign_in(client, f"nobody{n}", "wrong password", f"203.0.113.{n}") for n in range(70)]
    slowly = int(time.monotonic() - began) + 2
    assert [answer.status for answer in answers].count(401) <= 50 + slowly
    assert 429 in {answer.status for answer in answers}
    return answers


def forty_at_once(stage: Stage) -> list[Answer]:
    stage.person("rushed")
    with stage.somebody() as client, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda n: sign_in(client, "rushed", f"wrong {n}"), range(40)))
    return ends_in_429(sorted(answers, key=lambda answer: answer.status))


def owner_comes_in(stage: Stage) -> list[Answer]:
    stage.person("wanted")
    with stage.somebody() as attacker, stage.somebody() as owner:
        answers = [sign_in(attacker, "wanted", f"wrong {n}") for n in range(15)]
        signed_in = sign_in(owner, "wanted", PASSWORD)
    assert signed_in.status == 200, "from another address the account is not locked"
    return [*ends_in_429(answers), signed_in]


def unknown_user_says_the_same(stage: Stage) -> list[Answer]:
    stage.person("known")
    with stage.somebody() as client:
        answers = [sign_in(client, name, "wrong password") for name in ("known", "unknown")]
    bodies = [
        {name: value for name, value in answer.json().items() if name != "request_id"} for answer in answers
    ]
    assert bodies[0] == bodies[1]
    assert answers[0].headers.keys() == answers[1].headers.keys()
    return answers


def unknown_user_takes_as_long(stage: Stage) -> list[Answer]:
    stage.person("timed")
    seconds: dict[str, list[float]] = {"timed": [], "untimed": []}
    answers = []
    with stage.somebody() as first, stage.somebody() as second:
        for n in range(9):
            for name, client in (("timed", first), ("untimed", second)):
                began = time.perf_counter()
                answers.append(sign_in(client, name, f"wrong {n}"))
                seconds[name].append(time.perf_counter() - began)
    known, unknown = (median(times) for times in seconds.values())
    assert max(known, unknown) < 3 * min(known, unknown) or abs(known - unknown) < 0.04
    return answers


def accounts() -> Iterator[Case]:
    long = {"1 MB": "x" * MB, "5 MB": "x" * 5 * MB, "1,025 characters": "x" * 1_025}
    wrong = {
        "NUL": "long\x00enough",
        "a number": 12345678,
        "null": None,
        "a list": ["long enough"],
        "too short": "short",
        "empty": "",
    }
    for name, password in {**long, **wrong}.items():
        refused = (413,) if name.endswith("MB") else (422,)
        yield posts("passwords", name, account("p1", password), refused, path=REGISTER)
        if isinstance(password, str):
            yield Case(
                "passwords",
                f"{name}, to sign in",
                lambda stage, password=password: with_password(stage, password),
                BAD,
            )
    yield Case("passwords", "every byte of a long one counts", long_password, (201, 200, 401))
    yield Case("passwords", "a number of fields", many_fields, (400, 413, 422, 401))
    for field, value in {
        "role": "admin",
        "is_admin": True,
        "scopes": ["admin"],
        "id": "x",
        "disabled_at": None,
    }.items():
        yield posts(
            "register-admin",
            field,
            account("p2", PASSWORD) | {field: value},
            (422,),
            path=REGISTER,
            says=field,
        )
    yield Case("register-admin", "twice the same field", twice, (422, 201))
    for name in (
        "admin",
        "ADMIN",
        "api",
        "lovage",
        "demo",
        "ada",
        "ad\u200ba",
        "аda",
        "../x",
        "a b",
        "",
        "x" * 65,
    ):
        yield posts(
            "register-admin", f"the name {name[:9]!r}", account(name, PASSWORD), (409, 422), path=REGISTER
        )


def account(name: str, password: Any) -> dict[str, Any]:
    return {"email": "p@example.com", "username": name, "password": password}


def with_password(stage: Stage, password: str) -> Answer:
    with stage.somebody() as client:
        return sign_in(client, "ada", password)


def long_password(stage: Stage) -> Iterator[Answer]:
    """Argon2 reads all of it; bcrypt would stop at 72 bytes."""
    with stage.somebody() as client:
        body = account("long", "é" * 200) | {"email": "long@example.com"}
        yield Answer.of(client.post(REGISTER, json=body))
        yield (refused := sign_in(client, "long", "é" * 199 + "e"))
        yield (accepted := sign_in(client, "long", "é" * 200))
    assert (refused.status, accepted.status) == (401, 200)


def many_fields(stage: Stage) -> Answer:
    with stage.somebody() as client:
        fields = "&".join(f"f{n}=x" for n in range(50_000))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Answer.of(client.post(TOKEN, content=f"{fields}&username=ada&password=wrong", headers=headers))


def twice(stage: Stage) -> Answer:
    body = (
        b'{"email":"t@example.com","username":"twice","password":"long'
        b' enough","is_admin":false,"is_admin":true}'
    )
    with stage.somebody() as client:
        return Answer.of(client.post(REGISTER, content=body, headers={"Content-Type": "application/json"}))


CASES = [case for rows in (scopes, others, idempotency, guessing, accounts) for case in rows()]
