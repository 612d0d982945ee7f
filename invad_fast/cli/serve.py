"""``invad-fast serve``: a station that inspects what is sent to it, by HTTP and by a PLC."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from invad_fast.cli.console import note, say
from invad_fast.errors import InputError


def serve(
    recipes: Annotated[list[Path], typer.Argument(help="The first is the current one.")],
    ledger: Annotated[Path, typer.Option(help="File of the record, made where there is none.")],
    host: Annotated[str, typer.Option(help="Of the interface; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    users: Annotated[
        Path | None, typer.Option(help="File of users, made by `invad-fast user add`.")
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="A name under which it is asked for; may be repeated."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    insecure_network: Annotated[
        bool, typer.Option("--insecure-network", help="Without TLS beyond this machine.")
    ] = False,
    most_mb: Annotated[int, typer.Option(min=1, max=4096, help="Of a request's body.")] = 64,
    most_megapixels: Annotated[int, typer.Option(min=1, max=2000, help="Of an image.")] = 50,
    most_requests: Annotated[
        float, typer.Option(min=0.1, help="A second, of one host, in the mean of 10 s.")
    ] = 500.0,
    most_connections: Annotated[int, typer.Option(min=1, max=10_000)] = 64,
    modbus: Annotated[
        str | None, typer.Option(help="host:port of the PLC's interface; default: no Modbus.")
    ] = None,
    modbus_allow: Annotated[
        list[str] | None, typer.Option(help="Address or network of a PLC; may be repeated.")
    ] = None,
    json_lines: Annotated[Path | None, typer.Option(help="File that results go to too.")] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="Broker they go to, as mqtt://host:1883/topic.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Address that they are posted to.")] = None,
    overlays: Annotated[
        Path | None, typer.Option(help="Folder of pictures of what was rejected.")
    ] = None,
    overlays_gib: Annotated[float, typer.Option(help="At most so many.")] = 1.0,
    copy_to: Annotated[
        str | None,
        typer.Option(
            help="URL of a PostgreSQL database that gets a copy.", envvar="INVAD_FAST_COPY_TO"
        ),
    ] = None,
) -> None:
    """Serves a station: POST /inspect, /parts, /totals, /results, /metrics; a PLC; sinks.

    Without --users it is for this machine alone, and nobody changes a recipe. Ctrl-C ends it after
    the last part; status 0 only where the accounts close. Not a safety function (ISO 13849).
    """
    _need_extra()
    from invad_fast.serve.app import make_app
    from invad_fast.serve.doors import Doors, Limits
    from invad_fast.serve.server import Address, check_address, run
    from invad_fast.serve.sinks.sinks import Sinks
    from invad_fast.serve.station import Station, load_recipes
    from invad_fast.serve.users import Users

    address = Address(host, port, tls_cert, tls_key)
    check_address(address, users is not None, insecure_network)
    known = None if users is None else Users(users)
    if known is not None and not known.roles:
        raise InputError(f"{users} has no users: `invad-fast user add NAME --users {users}`")
    if modbus_allow and modbus is None:
        raise InputError("--modbus-allow is for --modbus: give the interface too")
    limits = Limits(
        most_bytes=most_mb * 2**20, most_pixels=most_megapixels * 10**6, rate=most_requests,
        connections=most_connections,
    )  # fmt: skip
    loaded = load_recipes(recipes)
    names = tuple(name.lower() for name in (*Doors(None).hosts, host, *(host_name or ())))
    with ExitStack() as running:
        sinks = Sinks(
            loaded[0].station, json_lines=json_lines, mqtt=mqtt, webhook=webhook,
            overlays=overlays, overlays_gib=overlays_gib,
        )  # fmt: skip
        station = running.enter_context(Station(loaded, ledger, sinks=sinks, copy_to=copy_to))
        if modbus is not None:
            _connect_plc(running, station, loaded[0], modbus, modbus_allow or [])
        doors = Doors(known, names)
        app = make_app(station, doors, limits, address.secure)
        run(
            app, address, limits.connections, lambda url: say(f"serving at {url}"),
            lambda: not station.faults,
        )  # fmt: skip
        accounts = station.inspector.accounts
    for line in sinks.faults:
        note(f"note: {line}")
    recorded = station.totals()
    say(
        f"{accounts.triggered} parts, {accounts.decided} verdicts; the ledger has "
        f"{recorded.triggered} in all, {recorded.open} without one"
    )
    if recorded.open or accounts.triggered != station.inspector.accounts.decided:
        note("error: the accounts do not close")
        raise typer.Exit(1)


def _need_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the service needs {error.name}: pip install 'invad-fast[serve]'"
        ) from None


def _connect_plc(
    running: ExitStack, station: Any, recipe: Any, listen: str, allow: list[str]
) -> None:
    from invad_fast.inspection.cameras.triggered import TriggeredCameras
    from invad_fast.serve.modbus.plc_link import PlcLink

    if not allow:
        raise InputError("--modbus needs --modbus-allow: who may connect; Modbus has no passwords")
    cameras = TriggeredCameras(recipe.cameras, tell=lambda line: note(f"note: {line}"))
    running.enter_context(cameras)
    station.watch(lambda: cameras.faults)
    link = running.enter_context(
        PlcLink(
            station.inspector, listen, allow, frames=cameras, views=cameras.views,
            able=lambda: not station.faults,
        )
    )  # fmt: skip
    say(f"Modbus at {link.state.address}")
