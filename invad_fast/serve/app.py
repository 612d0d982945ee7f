"""The station over HTTP: parts in, results out; described at ``/openapi.json``."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException

from invad_fast.errors import InputError
from invad_fast.inspection.part import Reason, Result, Ticket
from invad_fast.inspection.pixel_formats import PIXEL_FORMATS
from invad_fast.serve.doors import COOKIE, Caller, Doors, Limits
from invad_fast.serve.gate import Gate
from invad_fast.serve.openmetrics import CONTENT_TYPE
from invad_fast.serve.request_frame import TooLarge, raw_frame, read_image
from invad_fast.serve.station import Station
from invad_fast.version import release

_WAITING = 256  # results that a WebSocket's client may be behind
_SILENCE = 5.0  # seconds after which a client without results is sent a sign of life
_RESULT = json.loads((files("invad_fast") / "result.schema.json").read_text(encoding="utf-8"))


_EXAMPLE = {
    "id": 4812, "part_id": "4711", "verdict": "REJECT", "reason": None, "anomalous": True,
    "class_name": "metal", "score": 0.412, "threshold": 0.31, "provisional": False,
    "regions": [{"box": [40.0, 20.0, 12.0, 8.0], "area": 61.0, "peak": 0.412,
                 "polygon": [[40.0, 20.0], [52.0, 20.0], [52.0, 28.0], [40.0, 28.0]],
                 "longest_side": 12.0}],
    "recipe": "line", "model": "5a70e45abb4f6ae4", "encoder": 120_455, "latency_ms": 23.1,
}  # fmt: skip
_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {  # which FastAPI does not see: the app reads it itself
    "requestBody": {
        "required": True,
        "description": "An image file of any common kind; or a raw frame, its format, width and "
        f"height in the query ({', '.join(list(PIXEL_FORMATS)[:6])} …).",
        "content": {
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {"schema": {"type": "object", "properties": {"image": _BINARY}}},
        },
    }
}

router = APIRouter()


class SignIn(BaseModel):
    """Of ``POST /session``."""

    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=1000)]


class CurrentRecipe(BaseModel):
    """Of ``PUT /recipe``."""

    name: Annotated[str, Field(max_length=200)]


def make_app(
    station: Station, doors: Doors, limits: Limits | None = None, secure: bool = False
) -> FastAPI:
    """The service of a station that is entered.

    Args:
        doors: who is let in.
        limits: what a request may ask for.
        secure: it is reached by TLS, and cookies are for that alone.
    """
    app = FastAPI(
        title="invad_fast",
        version=release(),
        description="Inspects parts: one verdict each, in the ledger before it is answered. "
        "**Not a safety function (ISO 13849).**",
        docs_url=None,  # their pages fetch scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.station, app.state.doors = station, doors
    app.state.limits, app.state.secure = limits or Limits(), secure
    app.include_router(router)
    app.add_exception_handler(AnyHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(InputError, _mistake)
    app.add_middleware(Gate, doors=doors, limits=app.state.limits)
    return app


def _station(request: Request) -> Station:
    found: Station = request.app.state.station
    return found


def _doors(request: Request) -> Doors:
    found: Doors = request.app.state.doors
    return found


At = Annotated[Station, Depends(_station)]
AtDoors = Annotated[Doors, Depends(_doors)]


def _caller(request: Request, doors: AtDoors) -> Caller:
    found = doors.caller(request.headers, request.cookies)
    if found is None:
        raise HTTPException(
            401, "sign in (POST /session), or give a user's token: Authorization: Bearer …",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    return found


Known = Annotated[Caller, Depends(_caller)]


def _engineer(who: Known) -> Caller:
    if not who.is_engineer:
        raise HTTPException(403, f"{who.name} is an {who.role}: an engineer may change that")
    return who


Engineer = Annotated[Caller, Depends(_engineer)]


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"][1:])
    return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)


def _mistake(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


@router.post(
    "/inspect",
    summary="Inspect a part",
    openapi_extra=_BODY,
    responses={
        200: {"description": "The part's result.",
              "content": {"application/json": {"schema": _RESULT, "example": _EXAMPLE}}},
        422: {"description": "No image, or one that is damaged: with a `result`, the part is "
                             "NOT_INSPECTED in the ledger."},
    },
)  # fmt: skip
async def inspect(
    request: Request,
    station: At,
    who: Known,
    part_id: Annotated[str | None, Query(max_length=1000)] = None,
    recipe: Annotated[str | None, Query(max_length=200)] = None,
    encoder: Annotated[int | None, Query(ge=-(2**62), le=2**62)] = None,
    pixel_format: Annotated[
        str | None, Query(description="The body is a raw frame of this PFNC format.")
    ] = None,
    width: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
    height: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> Response:
    limits: Limits = request.app.state.limits
    content = await _image_of(request)
    read: Callable[[], np.ndarray]
    if pixel_format is None:
        levels = station.inspector.levels(recipe)
        read = partial(read_image, content, levels, limits.most_pixels)
    elif width is None or height is None:
        raise InputError("a raw frame needs width and height")
    elif width * height > limits.most_pixels:
        raise HTTPException(413, f"more than {limits.most_pixels} pixels")
    else:
        read = partial(raw_frame, content, pixel_format, width, height)

    def submitted() -> tuple[Ticket, str]:
        try:
            frame = read()
        except TooLarge:
            raise
        except InputError as error:
            if pixel_format is not None:
                raise  # nothing of it is a picture: the request is wrong, not the part
            ticket = station.inspector.trigger(part_id, 1, encoder, recipe=recipe)
            return ticket.no_frame(0, Reason.DAMAGED_FRAME, str(error)), str(error)
        name = pixel_format or "RGB8"
        return station.inspector.submit(
            frame, part_id, pixel_format=name, encoder=encoder, recipe=recipe
        ), ""

    try:
        ticket, fault = await run_in_threadpool(submitted)
    except TooLarge as error:
        raise HTTPException(413, str(error)) from None
    row = _row(await ticket)
    if fault:
        return JSONResponse({"error": fault, "result": row}, 422)
    return JSONResponse(row)


@router.get("/parts/{id}", summary="A part's row of the ledger")
def part(id: int, station: At, who: Known) -> dict[str, Any]:
    found = station.part(id) if 0 < id < 2**63 else None
    if found is None:
        raise HTTPException(404, f"no part {id}")
    return _finite(found)


@router.get("/totals", summary="What became of all parts")
def totals(
    station: At, who: Known, since: int | None = None, until: int | None = None
) -> dict[str, Any]:
    return station.totals(since, until).as_dict()


@router.get("/state", summary="What is wrong now, the current recipe, and who asks")
def state(station: At, who: Known) -> dict[str, Any]:
    accounts = station.inspector.accounts
    return {
        "ready": not station.faults,
        "faults": station.faults,
        "sinks": station.sinks.faults if station.sinks else [],
        "recipe": station.inspector.current_recipe,
        "recipes": station.inspector.recipe_names,
        "triggered": accounts.triggered,
        "open": accounts.open_parts,
        "user": who.name,
        "role": who.role,
    }


@router.put("/recipe", summary="Change to another recipe that is loaded (engineers)")
def change_recipe(wanted: CurrentRecipe, station: At, who: Engineer) -> dict[str, str]:
    station.change_recipe(wanted.name, who.name)
    return {"recipe": station.inspector.current_recipe}


@router.post("/session", summary="Sign in: a session cookie")
async def sign_in(given: SignIn, request: Request, doors: AtDoors) -> Response:
    host = request.client.host if request.client else ""
    key = await run_in_threadpool(doors.sign_in, given.name, given.password, host)
    if key is None:
        raise HTTPException(401, "wrong name or password, or too many tries: wait 30 s")
    response = JSONResponse({"user": given.name})
    response.set_cookie(
        COOKIE, key, httponly=True, samesite="strict", secure=request.app.state.secure
    )
    return response


@router.delete("/session", summary="Sign out")
def sign_out(request: Request, doors: AtDoors) -> Response:
    doors.sign_out(request.cookies.get(COOKIE))
    response = JSONResponse({})
    response.delete_cookie(
        COOKIE, httponly=True, samesite="strict", secure=request.app.state.secure
    )
    return response


@router.get("/healthz", summary="The process answers")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Parts are inspected: engine, golden parts, cameras, ledger")
def readyz(station: At) -> Response:
    faults = station.faults
    return JSONResponse({"ready": not faults, "faults": faults}, 503 if faults else 200)


@router.get("/metrics", summary="For Prometheus")
def metrics(station: At, who: Known) -> Response:
    return Response(station.metrics.text(not station.faults), media_type=CONTENT_TYPE)


@router.websocket("/results")
async def results(socket: WebSocket) -> None:
    doors: Doors = socket.app.state.doors
    if doors.caller(socket.headers, socket.cookies) is None:
        await socket.close(1008, "sign in, or give a user's token")
        return
    await socket.accept()
    await _stream(socket.app.state.station, socket)


async def _stream(station: Station, socket: WebSocket) -> None:
    """Results until the client goes; what it is too slow for is told as ``{"lost": n}``."""
    loop, arrived, told = asyncio.get_running_loop(), asyncio.Event(), 0
    with station.subscription(_WAITING, lambda: loop.call_soon_threadsafe(arrived.set)) as queue:
        gone = asyncio.ensure_future(_until_gone(socket))
        try:
            while not gone.done():
                arrived.clear()
                while (result := queue.get(0)) is not None and not gone.done():
                    await socket.send_json(_row(result))
                if queue.lost > told:
                    told = queue.lost
                    await socket.send_json({"lost": told})
                waits = [gone, asyncio.ensure_future(arrived.wait())]
                done, _ = await asyncio.wait(
                    waits, timeout=_SILENCE, return_when=asyncio.FIRST_COMPLETED
                )
                waits[1].cancel()
                if not done:
                    await socket.send_json({"alive": True})
        except (WebSocketDisconnect, RuntimeError, OSError):  # the client has gone
            pass
        finally:
            gone.cancel()


async def _until_gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _image_of(request: Request) -> bytes:
    """The body, or the field ``image`` of a form."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        content = await request.body()
    else:
        async with request.form(max_files=1, max_fields=10) as form:
            image = form.get("image")
            if image is None or isinstance(image, str):
                raise InputError("the form has no file `image`")
            content = await image.read()
    if not content:
        raise InputError("no image: send its bytes as the body, or as the form's file `image`")
    return content


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = _finite(result.row())
    return row


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
