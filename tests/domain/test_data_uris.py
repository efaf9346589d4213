"""Data URIs as RFC 2397 has them, and base64 as browsers and clients write it."""

import base64

import pytest

from app.domain.file_inputs import MOST_ESCAPES, parse_data

CONTENT = bytes(range(256))
PLAIN = base64.b64encode(CONTENT).decode()


@pytest.mark.parametrize(
    ("url", "media_type"),
    [
        (f"data:image/png;base64,{PLAIN}", "image/png"),
        (f"DATA:image/PNG;BASE64,{PLAIN}", "image/png"),
        (f"data:;base64,{PLAIN}", ""),
        (f"data:audio/webm;codecs=opus;base64,{PLAIN}", "audio/webm"),
        (f'data:audio/webm;codecs="vp8, opus";base64,{PLAIN}', "audio/webm"),
        (f"data:image/svg+xml; charset=utf-8; base64,{PLAIN}", "image/svg+xml"),
        ("data:image/png;base64," + PLAIN.rstrip("="), "image/png"),
        ("data:image/png;base64," + base64.encodebytes(CONTENT).decode(), "image/png"),
        ("data:image/png;base64," + base64.urlsafe_b64encode(CONTENT).decode(), "image/png"),
        ("data:image/png;base64," + PLAIN.replace("+", "%2B").replace("=", "%3D"), "image/png"),
        (
            "data:application/octet-stream," + "".join(f"%{byte:02x}" for byte in CONTENT),
            "application/octet-stream",
        ),
    ],
)
def test_what_a_data_uri_holds_is_read_as_its_sender_means_it(url: str, media_type: str) -> None:
    uri = parse_data(url)
    assert (uri.media_type, uri.content()) == (media_type, CONTENT)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("data:image/png;base64", "not a valid data URI"),
        ("data:image/png;base64,A", "not valid base64"),
        ("data:image/png;base64,A*B=", "not valid base64"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:text/plain," + "%41" * (MOST_ESCAPES + 1), "percent-escapes"),
        ("data:;base64," + "%41" * (MOST_ESCAPES + 1), "percent-escapes"),
    ],
)
def test_what_is_none_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_data(url).content()
