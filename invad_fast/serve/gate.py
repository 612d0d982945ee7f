"""Before any door: hosts, origins, rates, connections, the size of a body and the time it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from invad_fast.serve.doors import Doors, Limits, RateLimit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SAFE = ("GET", "HEAD", "OPTIONS")
_ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Gate:
    """An ASGI middleware.

    A body is read whole before the app is called, so that a part is only triggered where its
    picture is there: who is slow, sends too much or goes away holds up nobody and leaves no part.
    """

    def __init__(self, app: App, doors: Doors, limits: Limits) -> None:
        self._app, self._doors, self._limits = app, doors, limits
        self._rates = RateLimit(limits.rate)
        self._connections = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(scope, receive, send, *refusal)
            return
        self._connections += 1
        try:
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._request(scope, receive, send)
        finally:
            self._connections -= 1

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = _headers(scope)
        if not self._doors.knows_host(headers.get("host")):
            return 421, "this service is not known under that name: see --host-name"
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and not self._doors.same_origin(headers.get("origin"), headers.get("host")):
            return 403, "a page of another origin may not ask for this"
        host = (scope.get("client") or ("",))[0]
        if not self._rates.allows(host):
            return 429, f"more than {self._limits.rate:g} requests a second"
        if self._connections >= self._limits.connections:
            return 429, f"more than {self._limits.connections} requests at once"
        return None

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = _headers(scope).get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self._limits.most_bytes:
            await _refuse(scope, receive, send, 413, self._too_many())
            return
        body: bytearray | None = bytearray()
        try:
            body = await asyncio.wait_for(self._body(receive), self._limits.seconds)
        except (asyncio.TimeoutError, TimeoutError):
            line = f"the body was not there in {self._limits.seconds:g} s"
            await _refuse(scope, receive, send, 408, line)
            return
        if body is None:
            return  # the client has gone
        if len(body) > self._limits.most_bytes:
            await _refuse(scope, receive, send, 413, self._too_many())
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = [(k.encode(), v.encode()) for k, v in _ALWAYS.items()]
                message = {**message, "headers": [*message["headers"], *held]}
            await send(message)

        await self._app(scope, again, with_headers)

    async def _body(self, receive: Receive) -> bytearray | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > self._limits.most_bytes:
                return body

    def _too_many(self) -> str:
        return f"more than {self._limits.most_bytes} bytes: see --most-mb"


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, line: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # its connect
        await send({"type": "websocket.close", "code": 1008, "reason": line[:100]})
        return
    content = json.dumps({"error": line}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",  # what is left of the body is not read
        **_ALWAYS,
    }
    held = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": held})
    await send({"type": "http.response.body", "body": content})


def _headers(scope: Scope) -> dict[str, str]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
