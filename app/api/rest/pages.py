"""The page behind a prediction's `urls.web`: one file for all, which asks the API with the reader's own
key."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

router = APIRouter()

PAGE = (Path(__file__).parent / "prediction.html").read_text("utf-8")


def _hash_of(tag: str) -> str:
    """What the Content-Security-Policy allows: the text of our own tag and nothing else."""
    match = re.search(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    assert match is not None, tag
    return "'sha256-" + base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode() + "'"


HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self'; media-src 'self'; "
        f"script-src {_hash_of('script')}; style-src {_hash_of('style')}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/p/{prediction_id}", include_in_schema=False)
async def prediction_page(prediction_id: str) -> Response:
    """Knows nothing of the prediction, so there is nothing to protect."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)
