"""The service as an attacker would try it: every door and role, stolen and replayed credentials."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from refusals import one_line
from served_station import GOOD, Served, served
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from invad_fast.errors import InputError
from invad_fast.inspection.ledger.verify import verify
from invad_fast.serve import doors as doors_module
from invad_fast.serve.client import Client
from invad_fast.serve.doors import COOKIE
from invad_fast.serve.server import Address, check_address
from invad_fast.serve.users import Users

PASSWORD = "correct horse battery"


@pytest.fixture
def users(tmp_path: Path) -> Users:
    made = Users(tmp_path / "users.json")
    made.add("olga", "operator", PASSWORD)
    made.add("emil", "engineer", PASSWORD)
    return made


@pytest.fixture
def line(tmp_path: Path, users: Users) -> Iterator[Served]:
    with served(tmp_path, users, names=("line", "other")) as station:
        yield station


@contextmanager
def signed_in(line: Served, name: str, password: str = PASSWORD) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=line.url) as client:
        client.post("/session", json={"name": name, "password": password}).raise_for_status()
        yield client


DOORS = [("POST", "/inspect"), ("GET", "/parts/1"), ("GET", "/totals"), ("GET", "/state"),
         ("PUT", "/recipe"), ("GET", "/metrics")]  # fmt: skip


@pytest.mark.parametrize("method, path", DOORS)
def test_no_door_opens_without_a_name(line: Served, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic b2xnYTp4"},
                    {"Authorization": "Bearer"}, {"Cookie": f"{COOKIE}=x"}):  # fmt: skip
        body = {"content": GOOD} if path == "/inspect" else {"json": {"name": "other"}}
        answer = httpx.request(
            method, line.url + path, headers=headers, **(body if method != "GET" else {})
        )
        assert answer.status_code == 401, (headers, answer.text)
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{line.port}/results").close()
    assert httpx.get(f"{line.url}/healthz").status_code == 200
    assert line.station.totals().triggered == 0


def test_an_engineer_changes_the_recipe_and_the_trail_says_who(line: Served, users: Users) -> None:
    with signed_in(line, "olga") as olga:
        refused = olga.put("/recipe", json={"name": "other"})
        assert refused.status_code == 403 and "olga is an operator" in refused.json()["error"]
        assert olga.post("/inspect", content=GOOD).json()["recipe"] == "line"
    with signed_in(line, "emil") as emil:
        assert emil.put("/recipe", json={"name": "other"}).json() == {"recipe": "other"}
        wrong = emil.put("/recipe", json={"name": "nothing"})
        assert wrong.status_code == 400 and "no recipe 'nothing'" in wrong.json()["error"]
        assert emil.post("/inspect", content=GOOD).json()["recipe"] == "other"
        assert emil.get("/state").json()["role"] == "engineer"
    rows = sqlite3.connect(line.station.ledger).execute(
        "SELECT who, key, old, new FROM audit WHERE recipe = ''"
    )
    assert rows.fetchall() == [("emil", "current recipe", '"line"', '"other"')]
    assert verify(line.station.ledger)[0] == []


def test_a_token_is_one_users_and_ends_when_it_is_revoked(line: Served, users: Users) -> None:
    token = users.new_token("emil", "mes")
    assert token not in users.path.read_text()
    with Client(line.url, token) as client:
        assert client.inspect(GOOD)["verdict"] == "PASS" and client.totals()["passed"] == 1
        assert client.state()["user"] == "emil" and client.part(1)["verdict"] == "PASS"
        client.change_recipe("other")
        results = client.results()
        with pytest.raises(InputError, match="no part 77"):
            client.part(77)
        newer = Users(users.path)
        newer.revoke("emil", "mes")
        with pytest.raises(InputError, match="sign in"):
            client.totals()
        del results


def test_a_session_ends(line: Served, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    with signed_in(line, "olga") as olga:
        stolen = dict(olga.cookies)
        assert httpx.get(f"{line.url}/state", cookies=stolen).status_code == 200
        set_cookie = olga.post("/session", json={"name": "olga", "password": PASSWORD}).headers
        flags = set_cookie["set-cookie"].lower()
        assert "httponly" in flags and "samesite=strict" in flags and "secure" not in flags
        second = dict(olga.cookies)
        olga.delete("/session")
        assert httpx.get(f"{line.url}/state", cookies=second).status_code == 401
        users.add("olga", "operator", PASSWORD + "2")  # another password ends what was before
        assert httpx.get(f"{line.url}/state", cookies=stolen).status_code == 401
    with signed_in(line, "emil") as emil:
        users.remove("emil")
        assert emil.get("/state").status_code == 401
    monkeypatch.setattr(doors_module, "SESSION_HOURS", 0.0)
    with signed_in(line, "olga", PASSWORD + "2") as late:
        assert late.get("/state").status_code == 401


def test_guessing_is_slowed_down(line: Served) -> None:
    codes = [
        httpx.post(f"{line.url}/session", json={"name": "olga", "password": f"guess {n}"})
        for n in range(5)
    ]
    assert {answer.status_code for answer in codes} == {401}
    right = httpx.post(f"{line.url}/session", json={"name": "olga", "password": PASSWORD})
    assert right.status_code == 401 and "30 s" in right.json()["error"]
    nobody = httpx.post(f"{line.url}/session", json={"name": "x", "password": ""})
    assert nobody.json() == right.json()  # who there is is not told


def test_pages_of_others_are_turned_away(line: Served) -> None:
    with signed_in(line, "emil") as emil:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://["):
            headers = {"Origin": origin}
            answer = emil.put("/recipe", json={"name": "other"}, headers=headers)
            assert answer.status_code == 403, origin
            cookie = f"{COOKIE}={emil.cookies[COOKIE]}"
            with pytest.raises(InvalidStatus):
                connect(
                    f"ws://127.0.0.1:{line.port}/results",
                    additional_headers={"Cookie": cookie, "Origin": origin},
                ).close()
        own = {"Origin": line.url}
        assert emil.put("/recipe", json={"name": "other"}, headers=own).status_code == 200
        rebound = emil.get("/state", headers={"Host": "evil.example"})
        assert rebound.status_code == 421
        for header in ("", "[", "127.0.0.1.evil.example"):
            assert emil.get("/state", headers={"Host": header}).status_code in (400, 421)


def test_paths_lead_nowhere_else(line: Served) -> None:
    with signed_in(line, "olga") as olga:
        for path in ("/../users.json", "/parts/../../users.json", "/%2e%2e/users.json",
                     "/static/..%2fusers.json", "//etc/passwd"):  # fmt: skip
            assert olga.get(path).status_code in (404, 405, 422), path
        row = olga.post("/inspect", params={"part_id": "<script>alert(1)</script>"}, content=GOOD)
        assert row.headers["content-type"] == "application/json"
        assert row.headers["x-content-type-options"] == "nosniff"
        assert row.headers["x-frame-options"] == "DENY"


def test_the_file_of_users_is_its_owners(users: Users, tmp_path: Path) -> None:
    assert users.path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in users.path.read_text()
    users.path.chmod(0o644)
    one_line("others may read it", lambda: Users(users.path))
    users.path.chmod(0o600)
    one_line("at least 10 characters", lambda: users.add("a", "operator", "short"))
    one_line("no role 'admin'", lambda: users.add("a", "admin", PASSWORD))
    one_line("a user's name is", lambda: users.add("<b>", "operator", PASSWORD))
    one_line("no user 'nobody'", lambda: users.remove("nobody"))
    one_line("no token 'x'", lambda: users.revoke("emil", "x"))
    salted = '{"a": {"role": "operator", "salt": "zz", "password": "", "tokens": {}}}'
    for content in ("[]", "{", '{"a": 1}', '{"a": {"role": "operator"}}', salted):
        users.path.write_text(content)
        one_line("no file of users", lambda: Users(users.path).by_token("x"))


def test_what_would_be_open_to_the_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.touch()
    check_address(Address("127.0.0.1"), False, False)
    check_address(Address("::1"), False, False)
    check_address(Address("0.0.0.0", 1, file, file), True, False)
    check_address(Address("192.168.0.5"), True, True)
    one_line("give --users", lambda: check_address(Address("0.0.0.0"), False, True))
    one_line("--insecure-network", lambda: check_address(Address("0.0.0.0"), True, False))
    one_line("give both", lambda: check_address(Address(cert=file), True, False))
    gone = tmp_path / "gone"
    one_line("no file", lambda: check_address(Address(cert=file, key=gone), True, False))


PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from line_recipe import MAKER, recipe
from invad_fast.serve.app import make_app
from invad_fast.serve.doors import Doors
from invad_fast.serve.server import Address, run
from invad_fast.serve.station import Station
folder = Path({folder!r})
with Station([recipe(folder)], folder / "line.db", engine=MAKER, in_process=True) as station:
    address = Address("127.0.0.1", 0, *map(Path, {tls!r}))
    run(make_app(station, Doors(None), secure=address.secure), address, 8,
        lambda url: print(url, flush=True), lambda: True)
    print("torch" in sys.modules, flush=True)
"""


def test_its_process_tells_systemd_speaks_tls_and_ends_when_told(tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    tls = [str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")]
    code = PROCESS.format(tests=str(Path(__file__).parent), folder=str(tmp_path), tls=tls)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | told
        ) as process:
            assert process.stdout is not None
            assert systemd.recv(100) == b"READY=1"
            url = process.stdout.readline().strip()
            assert url.startswith("https://127.0.0.1:")
            assert systemd.recv(100) == b"WATCHDOG=1"
            with Client(url, ca=tls[0]) as client:
                assert client.inspect(GOOD)["verdict"] == "PASS"
            with pytest.raises(InputError, match="certificate"), Client(url) as distrusting:
                distrusting.state()
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline().strip() == "False"  # torch was never imported
            assert process.wait(60) == 0
        while (line := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert line == b"STOPPING=1"


def test_the_commands(tmp_path: Path, invad, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users.json"

    def stdin(text: str) -> None:
        reader, writer = os.pipe()
        os.write(writer, text.encode())
        os.close(writer)
        monkeypatch.setattr(sys, "stdin", os.fdopen(reader))

    stdin(PASSWORD + "\n")
    assert invad("user", "add", "emil", "--role", "engineer", "--users", file).status == 0
    done = invad("user", "token", "emil", "--users", file)
    assert Users(file).by_token(done.stdout.strip()) == ("emil", "engineer")
    assert invad("user", "list", "--users", file).stdout == "emil: engineer\n"
    assert invad("user", "revoke", "emil", "--users", file).status == 0
    assert Users(file).by_token(done.stdout.strip()) is None
    assert invad("user", "remove", "emil", "--users", file).status == 0
    assert json.loads(file.read_text()) == {}
    stdin("short\n")
    done = invad("user", "add", "emil", "--role", "engineer", "--users", file)
    assert done.status == 2 and "at least 10 characters" in done.stderr
    done = invad(
        "serve", tmp_path / "line.yaml", "--ledger", tmp_path / "l.db", "--host", "0.0.0.0"
    )
    assert done.status == 2 and "give --users" in done.stderr
    done = invad("serve", tmp_path / "line.yaml", "--ledger", tmp_path / "l.db", "--users", file)
    assert done.status == 2 and "has no users" in done.stderr
    done = invad("serve", tmp_path / "line.yaml", "--ledger", tmp_path / "l.db")
    assert done.status == 2 and "no recipe" in done.stderr and not (tmp_path / "l.db").exists()
