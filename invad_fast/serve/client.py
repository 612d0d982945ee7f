"""The service from Python: ``Client("http://127.0.0.1:8080").inspect("part.png")``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from invad_fast.errors import InputError


class Client:
    """Asks a running ``invad-fast serve``. Needs ``invad-fast[serve]``.

    Args:
        address: as "https://station.plant:8443".
        token: of a user, see ``invad-fast user token``.
        timeout: seconds of a request.
        ca: file of the certificates that are believed; None for the system's.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        timeout: float = 30.0,
        ca: str | Path | None = None,
    ) -> None:
        import httpx

        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._address = address.rstrip("/")
        self._ca = None if ca is None else str(ca)
        self._http = httpx.Client(
            base_url=self._address, headers=self._headers, timeout=timeout,
            verify=_context(self._ca) or True,
        )  # fmt: skip

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._http.close()

    def inspect(
        self,
        image: str | Path | bytes | np.ndarray,
        part_id: str | None = None,
        *,
        pixel_format: str = "RGB8",
        recipe: str | None = None,
        encoder: int | None = None,
    ) -> dict[str, Any]:
        """The result of a part, by ``result.schema.json``.

        Args:
            image: an image file, its bytes, or a frame as `Ticket.frame` takes it, in
                ``pixel_format`` (not packed).

        Raises:
            InputError: where the service refuses, in its words. A damaged image raises nothing: it
                is a part that is NOT_INSPECTED.
        """
        query: dict[str, Any] = {"part_id": part_id, "recipe": recipe, "encoder": encoder}
        if isinstance(image, np.ndarray):
            height, width = image.shape[:2]
            query |= {"pixel_format": pixel_format, "width": width, "height": height}
            content = np.ascontiguousarray(image).tobytes()
        elif isinstance(image, bytes):
            content = image
        else:
            try:
                content = Path(image).read_bytes()
            except OSError as error:
                raise InputError(f"cannot read {image}: {error.strerror or error}") from None
        given = {key: value for key, value in query.items() if value is not None}
        answer = self._ask("POST", "/inspect", params=given, content=content)
        held: dict[str, Any] = answer.get("result", answer)
        return held

    def part(self, id_: int) -> dict[str, Any]:
        """A part's row of the ledger."""
        return self._ask("GET", f"/parts/{id_}")

    def totals(self, since: int | None = None, until: int | None = None) -> dict[str, Any]:
        """What became of all parts; from and to, microseconds of UTC."""
        span = {"since": since, "until": until}
        given = {key: value for key, value in span.items() if value is not None}
        return self._ask("GET", "/totals", params=given)

    def state(self) -> dict[str, Any]:
        """Whether it is ready, why not, the current recipe."""
        return self._ask("GET", "/state")

    def change_recipe(self, name: str) -> None:
        """For engineers."""
        self._ask("PUT", "/recipe", json={"name": name})

    def results(self) -> Iterator[dict[str, Any]]:
        """Results from now on, and ``{"lost": n}`` where this is too slow for them."""
        from websockets.sync.client import connect

        parts = urlsplit(self._address)
        scheme = "wss" if parts.scheme == "https" else "ws"
        address = urlunsplit((scheme, parts.netloc, f"{parts.path}/results", "", ""))
        secure = _context(self._ca) if scheme == "wss" else None
        with connect(address, additional_headers=self._headers, ssl=secure) as socket:
            for message in socket:
                row = json.loads(message)
                if "alive" not in row:
                    yield row

    def _ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        import httpx

        try:
            answer = self._http.request(method, path, **given)
        except httpx.HTTPError as error:
            raise InputError(f"{self._address}: {error or type(error).__name__}") from None
        try:
            held: dict[str, Any] = answer.json()
        except ValueError:
            raise InputError(f"{self._address}: {answer.status_code}, and no JSON") from None
        if answer.is_error and "result" not in held:
            raise InputError(f"{self._address}: {held.get('error', answer.status_code)}")
        return held


def _context(ca: str | None) -> Any:
    import ssl

    return None if ca is None else ssl.create_default_context(cafile=ca)
