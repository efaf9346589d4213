"""The row about credentials: everything that is not a token of ours is none."""

import base64
import hmac
import time
from collections.abc import Iterator
from typing import Any

import orjson
from abuse_case import Case
from abuse_stage import PASSWORD, Answer, Stage
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ACCOUNT = "/v1/account"
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


def coded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else orjson.dumps(part)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(head: dict[str, Any], claims: Any, key: bytes, way: str = "sha256") -> str:
    text = f"{coded(head)}.{coded(claims)}"
    return f"{text}.{coded(hmac.new(key, text.encode(), way).digest())}"


HS256 = {"alg": "HS256", "typ": "JWT"}


def claims_of(stage: Stage, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": str(stage.ada.id), "aud": "lovage", "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def tokens_of(stage: Stage) -> dict[str, str]:
    """Everything that is not a token of ours, by name."""
    claims = claims_of(stage)
    common = {f"signed with {word!r}": signed(HS256, claims, word.encode()) for word in COMMON}
    return {
        **no_tokens(stage),
        **wrong_signatures(stage, claims),
        **wrong_heads(stage, claims),
        **wrong_claims(stage),
        **common,
    }


def no_tokens(stage: Stage) -> dict[str, str]:
    return {
        "garbage": "garbage",
        "dots": "...",
        "empty parts": "..",
        "60 kB": "x" * 60_000,
        "a key that is none": "lov_" + "0" * 64,
        "a key cut short": stage.ada.key[:-1],
        "a key in capitals": stage.ada.key.upper(),
    }


def wrong_signatures(stage: Stage, claims: dict[str, Any]) -> dict[str, str]:
    good = signed(HS256, claims, stage.secret.encode())
    head, body, signature = good.split(".")
    other = coded(claims_of(stage, sub=str(stage.person("root", admin=True).id)))
    return {
        "alg none": f"{coded({'alg': 'none'})}.{body}.",
        "alg None": f"{coded({'alg': 'None'})}.{body}.",
        "alg nOnE, signed": f"{coded({'alg': 'nOnE'})}.{body}.{signature}",
        "no alg": f"{coded({'typ': 'JWT'})}.{body}.{signature}",
        "alg is a list": f"{coded({'alg': ['HS256']})}.{body}.{signature}",
        "an empty key": signed(HS256, claims, b""),
        "a NUL key": signed(HS256, claims, b"\x00"),
        "no signature": f"{head}.{body}.",
        "no third part": f"{head}.{body}",
        "a changed signature": f"{head}.{body}.{signature[:-4]}AAAA",
        "changed claims": f"{head}.{other}.{signature}",
    }


def wrong_heads(stage: Stage, claims: dict[str, Any]) -> dict[str, str]:
    public = rsa.generate_private_key(65537, 2048).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret, elsewhere = stage.secret.encode(), f"http://127.0.0.1:{stage.traps[0].port}/"
    return {
        "RS256 signed by HMAC of the secret": signed({"alg": "RS256"}, claims, secret),
        "RS256 with a public key": signed({"alg": "RS256"}, claims, pem),
        "HS256 with a public key": signed(HS256, claims, pem),
        "HS512": signed({"alg": "HS512"}, claims, secret, "sha512"),
        "a key in the head (jwk)": signed(
            HS256 | {"jwk": {"kty": "oct", "k": coded(b"mine")}}, claims, b"mine"
        ),
        "a key elsewhere (jku)": signed(HS256 | {"jku": elsewhere}, claims, b"mine"),
        "a certificate elsewhere (x5u)": signed(HS256 | {"x5u": elsewhere}, claims, b"mine"),
        "a key by path (kid)": signed(HS256 | {"kid": "../../../../dev/null"}, claims, b""),
        "a key by SQL (kid)": signed(HS256 | {"kid": "x' UNION SELECT 'mine' --"}, claims, b"mine"),
    }


def wrong_claims(stage: Stage) -> dict[str, str]:
    """Signed with the right secret, and still no token of ours."""
    now = int(time.time())
    changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": now - 3_600},
        "no end": {"exp": None},
        "an end that is text": {"exp": "soon"},
        "an end that is a list": {"exp": []},
        "not yet": {"nbf": now + 3_600},
        "for somebody else": {"aud": "other"},
        "for nobody": {"aud": None},
        "of nobody": {"sub": None},
        "of a name": {"sub": "ada"},
        "of an object": {"sub": {"a": 1}},
        "of SQL": {"sub": "' OR 1=1 --"},
        "of one who is not there": {"sub": "6f1c0a52-0000-4000-8000-000000000000"},
    }
    odd: dict[str, Any] = {
        "claims that are a list": [claims_of(stage)],
        "claims that are no JSON": b"{",
        "claims 2,500 deep": b"[" * 2_500 + b"]" * 2,
        "an endless end": b'{"sub":"x","aud":"lovage","exp":1e999}',
    }
    found = {name: claims_of(stage, **change) for name, change in changes.items()} | odd
    return {name: signed(HS256, claims, stage.secret.encode()) for name, claims in found.items()}


def tokens() -> Iterator[Case]:
    yield Case("tokens", "everything that is not ours", every_token, (401,), 30)
    yield Case("tokens", "the good one in all the wrong places", wrong_places, (401,))
    yield Case("tokens", "the good one in an address, which takes no such parameter", in_the_address, (422,))
    yield Case("tokens", "none, at every route", no_credential, (401, 200, 404, 405, 422), 30)
    yield Case("tokens", "the good one", good_token, (200,))


def every_token(stage: Stage) -> Iterator[Answer]:
    with stage.somebody() as client:
        for name, token in tokens_of(stage).items():
            answer = Answer.of(client.get(ACCOUNT, headers={"Authorization": f"Bearer {token}"}))
            assert (answer.status, answer.headers.get("www-authenticate", "")[:6]) == (401, "Bearer"), (
                name,
                answer,
            )
            yield answer
    assert stage.traps[0].requests == []


def wrong_places(stage: Stage) -> Iterator[Answer]:
    good, basic = good_of(stage), base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    headers: list[dict[str, str]] = [
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Basic {base64.b64encode(f'x:{good}'.encode()).decode()}"},
        {"Authorization": f"Digest {good}"},
        {"Authorization": f"Bearer{good}"},
        {"Authorization": good},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": f"Bearer {good} {good}"},
        {"Cookie": f"token={good}"},
        {"X-Api-Key": good},
        {"Proxy-Authorization": f"Bearer {good}"},
        {"Authorization": f"Bearer {good},"},
    ]
    with stage.somebody() as client:
        for header in headers:
            yield Answer.of(client.get(ACCOUNT, headers=header))


def in_the_address(stage: Stage) -> Iterator[Answer]:
    with stage.somebody() as client:
        for name in ("token", "access_token", "api_key", "key"):
            yield Answer.of(client.get(ACCOUNT, params={name: good_of(stage)}))


def good_of(stage: Stage) -> str:
    return signed(HS256, claims_of(stage), stage.secret.encode())


def no_credential(stage: Stage) -> Iterator[Answer]:
    """Routes of the document that want a credential say so; nobody's answer holds anything of Ada's."""
    document = stage.ada.call("GET", "/openapi.json").json()
    secured = [
        (method, path)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
        if one.get("security", True)
    ]
    open_ = {"/v1/auth/register", "/v1/auth/token"}
    asked = [
        (method, path.replace("{", "").replace("}", ""))
        for method, path in secured
        if path.startswith("/v1/") and path not in open_
    ]
    assert len(asked) > 30
    with stage.somebody() as client:
        for method, path in asked:
            answer = Answer.of(
                client.request(method, path, content=b"{}", headers={"Content-Type": "application/json"})
            )
            assert (
                answer.status == 401
                or "{key" in path
                or path.startswith(("/v1/files/content", "/v1/streams"))
            ), (
                method,
                path,
                answer,
            )
            yield answer


def good_token(stage: Stage) -> Answer:
    with stage.somebody() as client:
        token = signed(HS256, claims_of(stage), stage.secret.encode())
        return Answer.of(client.get(ACCOUNT, headers={"Authorization": f"Bearer {token}"}))


CASES = [*tokens()]
