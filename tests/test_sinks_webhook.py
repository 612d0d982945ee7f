"""Results posted to a real server, which checks the signatures with another's library."""

import json
import time
from importlib.resources import files
from pathlib import Path

import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from refusals import one_line
from sink_servers import KEY, Receiver, results, run, wait_until

from invad_fast.errors import InputWarning
from invad_fast.inspection import Inspector
from invad_fast.serve.sinks.sink import Sink
from invad_fast.serve.sinks.webhook import SECRET, Webhook
from invad_fast.serve.subscription import Subscription

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())


def test_webhook(receiver: Receiver) -> None:
    given = results(20)
    state = run(Webhook(receiver.url, "station 1"), given)
    assert (state.delivered, state.lost, state.fault) == (20, 0, "")
    assert receiver.taken == json.loads(json.dumps([each.row() for each in given]))
    assert len(set(receiver.ids)) == 20


def test_webhook_is_tried_again(receiver: Receiver) -> None:
    receiver.answers += [500, 503, 429, 204, 408]
    state = run(Webhook(receiver.url, "s", pause=0.01), results(2))
    assert (state.delivered, state.lost) == (2, 0) and len(receiver.taken) == 2
    assert len(receiver.ids) == 6 and len(set(receiver.ids)) == 2  # the same result, the same id


def test_webhook_gives_up(receiver: Receiver) -> None:
    receiver.answers += [500] * 3
    with pytest.warns(InputWarning, match="1 result lost: it answers 500"):
        state = run(Webhook(receiver.url, "s", tries=3, pause=0.01), results(2))
    assert (state.delivered, state.lost, state.fault) == (1, 1, "")
    assert [row["id"] for row in receiver.taken] == [2]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404])
def test_webhook_does_not_repeat_what_is_refused(receiver: Receiver, status: int) -> None:
    receiver.answers += [status]
    with pytest.warns(InputWarning, match=f"it answers {status}"):
        state = run(Webhook(receiver.url, "s"), results(2))
    assert (state.delivered, state.lost) == (1, 1) and len(receiver.ids) == 2


def test_webhook_without_a_server(receiver: Receiver, port: int) -> None:
    with pytest.warns(InputWarning, match="Connection refused"):
        state = run(Webhook(f"http://127.0.0.1:{port}/", "s", tries=2, pause=0.01), results(2))
    assert (state.delivered, state.lost) == (0, 2)


def test_a_stalled_webhook_delays_no_result(receiver: Receiver, tmp_path: Path) -> None:
    receiver.hold.clear()
    queue = Subscription(10)
    sink = Sink(Webhook(receiver.url, "s"), queue)
    with Inspector(
        recipe(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True,
        on_result=queue.offer,
    ) as line:  # fmt: skip
        for _ in range(100):
            line.inspect(stub.picture(100), pixel_format="RGB8")
        assert line.accounts.decided == 100
    wait_until(lambda: sink.state.lost + sink.state.waiting == 100)
    assert sink.state.waiting <= 11 and sink.state.fault == "it does not keep up"
    receiver.hold.set()
    with pytest.warns(InputWarning, match="results lost"):
        state = sink.close()
    assert state.delivered == len(receiver.taken) and state.delivered + state.lost == 100


def test_a_webhook_that_hangs_at_the_end(receiver: Receiver) -> None:
    receiver.hold.clear()
    started = time.monotonic()
    with pytest.warns(InputWarning, match="5 results lost"):
        state = run(Webhook(receiver.url, "s"), results(5), patience=0.3)
    assert (state.delivered, state.lost, state.waiting) == (0, 5, 0)
    assert time.monotonic() - started < 8


WRONG_SECRETS = {
    "none": (None, "a webhook is signed"),
    "empty": ("", "is empty"),
    "no prefix": ("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "must be whsec_"),
    "short": ("whsec_c2VjcmV0", "24 to 64 bytes"),
    "no base64": ("whsec_***", "24 to 64 bytes"),
}


@pytest.mark.parametrize("name", WRONG_SECRETS)
def test_wrong_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, why = WRONG_SECRETS[name]
    if value is None:
        monkeypatch.delenv(SECRET, raising=False)
    else:
        monkeypatch.setenv(SECRET, value)
    line = one_line(why, lambda: Webhook("https://host/", "s"))
    assert not value or value not in line


def test_secrets_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv(f"{SECRET}_FILE", str(tmp_path / "key"))
    Webhook("https://host/", "s").close(0)
    monkeypatch.setenv(SECRET, KEY)
    one_line("not both", lambda: Webhook("https://host/", "s"))
    monkeypatch.delenv(SECRET)
    monkeypatch.setenv(f"{SECRET}_FILE", str(tmp_path / "none"))
    one_line("cannot read", lambda: Webhook("https://host/", "s"))
    (tmp_path / "key").write_text("\n")
    monkeypatch.setenv(f"{SECRET}_FILE", str(tmp_path / "key"))
    one_line("is empty", lambda: Webhook("https://host/", "s"))


@pytest.mark.parametrize("url", ["ftp://host/", "host/path", "https:///path", "https://u:p@host/"])
def test_wrong_webhooks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, KEY)
    one_line("webhook's address", lambda: Webhook(url, "s"))
