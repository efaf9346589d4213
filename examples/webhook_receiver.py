"""Receives webhooks: `LOVAGE_WEBHOOK_SECRET=whsec_… uvicorn webhook_receiver:app --port 9000`.

Needs fastapi, uvicorn, standardwebhooks. Answers at once and works afterwards: a receiver that takes longer
than the platform waits is called again. A delivery may come twice, so what was seen is remembered by its
webhook-id.
"""

import os
from collections import OrderedDict
from typing import Any

from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

REMEMBERED = 10_000  # in a table with a unique key, where several processes receive
webhook = Webhook(os.environ["LOVAGE_WEBHOOK_SECRET"])  # of `lovage webhooks secret`
seen: OrderedDict[str, None] = OrderedDict()
app = FastAPI()


@app.post("/hook", status_code=204)
async def receive(request: Request, later: BackgroundTasks) -> None:
    """204 when it is genuine, 400 when it is not."""
    try:
        prediction: Any = webhook.verify(await request.body(), dict(request.headers))
    except WebhookVerificationError as error:
        raise HTTPException(400, str(error)) from None
    delivery = request.headers["webhook-id"]
    if delivery in seen:
        return
    seen[delivery] = None
    if len(seen) > REMEMBERED:
        seen.popitem(last=False)
    later.add_task(work, prediction)


def work(prediction: dict[str, Any]) -> None:
    """What your program does with it."""
    print(prediction["id"], prediction["status"], prediction["error"] or prediction["output"], flush=True)
