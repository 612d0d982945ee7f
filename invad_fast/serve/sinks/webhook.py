"""Each result as a signed HTTP request, by Standard Webhooks (standardwebhooks.com, 1.0).

A receiver checks, of the three headers webhook-id, webhook-timestamp and webhook-signature, that
the time is near its own and that the signature is base64(HMAC-SHA256(secret, id.timestamp.body));
libraries of most languages do. An id that comes twice is the same result, sent again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import random
import threading
import time
from hashlib import sha256
from urllib.parse import urlsplit

from invad_fast.errors import InputError, first_line
from invad_fast.inspection.part import Result
from invad_fast.serve.sinks.outlet import Undelivered
from invad_fast.serve.sinks.secret import secret

SECRET = "INVAD_FAST_WEBHOOK_SECRET"
_TRIES = 8  # with these pauses some two minutes
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds, doubled from try to try
_TIMEOUT = 10.0  # seconds of a request
_LATER = (408, 425, 429)  # of the client's mistakes those that time mends


class Webhook:
    """Posts to one address. No redirect is followed.

    Args:
        url: https://…; http:// too, where the network is the plant's own.
        station: part of each message's id.
        tries: after which a result is given up.
        pause: seconds after the first try; each one after is twice as long, up to half a minute.

    Raises:
        InputError: for another URL, where there is no secret, and where httpx is not installed.
    """

    kind = "webhook"
    unconfirmed = 0

    def __init__(
        self, url: str, station: str, tries: int = _TRIES, pause: float = _FIRST_PAUSE
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise InputError("a webhook needs httpx: pip install 'invad-fast[webhook]'") from None
        found = urlsplit(url)
        if found.scheme not in ("https", "http") or not found.hostname:
            raise InputError("a webhook's address is https://host/path")
        if found.password is not None:
            raise InputError("no password in a webhook's address: its requests are signed")
        self._url, self._station, self._tries, self._pause = url, station, tries, pause
        self._key = _key()
        self.where, self.fault = f"{found.scheme}://{found.hostname}{found.path}", ""
        self._client = httpx.Client(timeout=_TIMEOUT)

    def send(self, result: Result, stop: threading.Event) -> None:
        """Tries until it is taken; a refusal for good is not tried again."""
        body = json.dumps(result.row(), allow_nan=False).encode()
        number = sha256(f"{self._station}\0{result.id}".encode()).hexdigest()[:32]
        pause = self._pause
        for left in range(self._tries - 1, -1, -1):
            self.fault, lasting = self._try(number, body)
            if not self.fault:
                return
            if lasting or not left:
                break
            # Not all stations at the same moment, after a server that was away.
            if stop.wait(pause * random.uniform(0.75, 1.25)):
                break
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise Undelivered(self.fault)

    def close(self, patience: float) -> None:
        """Closes the connection."""
        self._client.close()

    def _try(self, number: str, body: bytes) -> tuple[str, bool]:
        """(why it was not taken, or nothing; whether trying again is of no use)."""
        import httpx

        headers = {"content-type": "application/json"} | signed(self._key, number, body)
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                status = answer.status_code  # what else it says is not read: it may be endless
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return first_line(error) or type(error).__name__, False
        if 200 <= status < 300:
            return "", False
        return f"it answers {status}", 300 <= status < 500 and status not in _LATER


def signed(key: bytes, number: str, body: bytes, now: int | None = None) -> dict[str, str]:
    """The headers that sign a message.

    Args:
        now: seconds since 1970; None for the clock's.
    """
    stamp = str(int(time.time()) if now is None else now)
    text = f"{number}.{stamp}.".encode() + body
    code = base64.b64encode(hmac.digest(key, text, "sha256")).decode()
    return {
        "webhook-id": number, "webhook-timestamp": stamp, "webhook-signature": f"v1,{code}",
    }  # fmt: skip


def _key() -> bytes:
    text = secret(SECRET)
    how = "whsec_ and base64 of 24 to 64 bytes, say: echo whsec_$(openssl rand -base64 32)"
    if text is None:
        raise InputError(
            f"a webhook is signed: put a secret into {SECRET}, or a file that {SECRET}_FILE names "
            f"({how})"
        )
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise InputError(f"the webhook's secret must be {how}")
    return key
