"""What is to be done once a request is answered (counted, written down, its trace ended), in pure ASGI: some
three microseconds each."""

from collections.abc import Callable, Sequence
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEFT = 499  # as other servers write it: the caller went away before any answer
OnAnswered = Callable[[Scope, int, float], None]  # the request, its status, and the seconds that it took


class AnsweredRequests:
    """The outermost middleware, so that it sees what was answered in the end."""

    def __init__(self, app: ASGIApp, listeners: Sequence[OnAnswered]) -> None:
        self._app, self._listeners = app, listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = LEFT, perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except BaseException:  # passed to the listeners, then raised on
            status = 500  # Starlette answers it further out
            raise
        finally:
            seconds = perf_counter() - began
            for listener in self._listeners:
                listener(scope, status, seconds)
