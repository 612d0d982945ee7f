"""``invad-fast user …``: who may use a station's service."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import say
from invad_fast.errors import InputError

user = typer.Typer(help="Users of `invad-fast serve`: names, roles, tokens.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="The user's name.")]
_Users = Annotated[Path, typer.Option(help="The file of users.")]
_FILE = Path("users.json")
_Label = Annotated[str, typer.Option(help="What the token is for.")]


@user.command()
def add(
    name: _Name,
    role: Annotated[str, typer.Option(help="operator: sees and inspects; engineer: changes.")],
    users: _Users = _FILE,
) -> None:
    """Adds a user, or changes one; asks for the password, or reads it as a line of input."""
    from invad_fast.serve.users import Users

    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("again: ") != password:
            raise InputError("the two are not the same: nothing has changed")
    else:
        password = sys.stdin.readline().rstrip("\n")
    Users(users).add(name, role, password)
    say(f"{name}, {role}, in {users}")


@user.command()
def token(name: _Name, users: _Users = _FILE, label: _Label = "default") -> None:
    """Prints a new token for a program of the user's; the file has only its hash."""
    from invad_fast.serve.users import Users

    say(Users(users).new_token(name, label))


@user.command()
def revoke(name: _Name, users: _Users = _FILE, label: _Label = "default") -> None:
    """Ends a token at once."""
    from invad_fast.serve.users import Users

    Users(users).revoke(name, label)
    say(f"the token {label!r} of {name} is worth nothing any more")


@user.command()
def remove(name: _Name, users: _Users = _FILE) -> None:
    """Takes a user out; sessions and tokens end at once."""
    from invad_fast.serve.users import Users

    Users(users).remove(name)
    say(f"{name} is no user any more")


@user.command("list")
def list_(users: _Users = _FILE) -> None:
    """Lists names and roles."""
    from invad_fast.serve.users import Users

    for name, role in Users(users).roles.items():
        say(f"{name}: {role}")
