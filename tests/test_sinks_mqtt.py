"""Results at a real MQTT broker: at least once, last will, and what a broker that stalls costs."""

import json
import shutil
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from refusals import one_line
from sink_servers import Broker, ids, results, run, states, subscribed, wait_until

from invad_fast.errors import InputWarning
from invad_fast.inspection import Inspector
from invad_fast.serve.sinks.mqtt import PASSWORD, Mqtt
from invad_fast.serve.sinks.sink import Sink
from invad_fast.serve.subscription import Subscription

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())


def test_mqtt(broker: Broker) -> None:
    given = results(200)
    with subscribed(broker.port) as came:
        state = run(Mqtt(f"mqtt://127.0.0.1:{broker.port}/plant/line"), given)
        assert (state.delivered, state.lost, state.fault) == (200, 0, "")
        wait_until(lambda: len(came) == 202)
    assert ids(came) == list(range(1, 201)) and states(came) == ["online", "offline"]
    row = next(json.loads(payload) for topic, payload in came if topic == "plant/line")
    jsonschema.validate(row, SCHEMA)
    assert row == json.loads(json.dumps(given[0].row()))
    with subscribed(broker.port) as late:
        wait_until(lambda: late == [("plant/line/state", "offline")])


_STATION = """
import sys, time
from invad_fast.serve.sinks.mqtt import Mqtt
Mqtt(sys.argv[1])
time.sleep(600)
"""


def test_mqtt_last_will(broker: Broker) -> None:
    """A station that is killed says nothing: the broker does."""
    url = f"mqtt://127.0.0.1:{broker.port}/plant/line"
    with subscribed(broker.port) as came:
        station = subprocess.Popen([sys.executable, "-c", _STATION, url])
        wait_until(lambda: states(came) == ["online"])
        station.kill()
        station.wait()
        wait_until(lambda: states(came) == ["online", "offline"])


def test_mqtt_broker_that_is_started_late_and_again(port: int, tmp_path: Path) -> None:
    queue = Subscription(1000)
    sink = Sink(Mqtt(f"mqtt://127.0.0.1:{port}/plant/line"), queue)
    given = results(150)
    for each in given[:50]:
        queue.offer(each)
    wait_until(lambda: "Connection refused" in sink.state.fault)
    assert sink.state.delivered == 0 and sink.state.waiting == 50
    keeps = ("persistence true", f"persistence_location {tmp_path}/", "allow_anonymous true")
    broker = Broker(port, tmp_path, *keeps)
    with subscribed(port) as came:
        wait_until(lambda: sink.state.delivered == 50)
        assert sink.state.fault == ""
        broker.stop(signal.SIGTERM)  # it keeps who had subscribed
        for each in given[50:]:
            queue.offer(each)
        wait_until(lambda: "lost" in sink.state.fault or "reach" in sink.state.fault)
        broker.start()
        wait_until(lambda: sink.state.delivered == 150)
        wait_until(lambda: set(ids(came)) >= set(range(51, 151)))
    state = sink.close()
    broker.stop()
    assert (state.delivered, state.lost) == (150, 0)


def test_a_stalled_broker_delays_no_result(broker: Broker, tmp_path: Path) -> None:
    queue = Subscription(30)
    sink = Sink(Mqtt(f"mqtt://127.0.0.1:{broker.port}/plant/line"), queue)
    wait_until(lambda: sink.state.fault == "")
    broker.process.send_signal(signal.SIGSTOP)
    with (
        pytest.warns(InputWarning, match=r"MQTT 127.0.0.1:\d+/plant/line: \d+ results lost"),
        Inspector(
            recipe(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True,
            on_result=queue.offer,
        ) as line,
    ):  # fmt: skip
        for _ in range(100):
            line.inspect(stub.picture(100), pixel_format="RGB8")
        assert line.accounts.decided == 100
        wait_until(lambda: sink.state.lost + sink.state.waiting == 100)
        assert sink.state.waiting <= 51 and sink.state.fault
        broker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: sink.state.waiting == 0)
        state = sink.close()
    assert state.delivered + state.lost == 100 and state.delivered >= 50 and state.lost


def test_mqtt_at_the_end(broker: Broker) -> None:
    """What a stalled broker did not confirm in time is lost, and told."""
    queue = Subscription(100)
    sink = Sink(Mqtt(f"mqtt://127.0.0.1:{broker.port}/plant/line"), queue)
    wait_until(lambda: sink.state.fault == "")
    broker.process.send_signal(signal.SIGSTOP)
    for each in results(30):
        queue.offer(each)
    with pytest.warns(InputWarning, match="30 results lost"):
        state = sink.close(0.5)
    broker.process.send_signal(signal.SIGCONT)
    assert (state.delivered, state.lost, state.waiting) == (0, 30, 0)


def test_mqtt_password(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd: apt-get install mosquitto")
    subprocess.run([tool, "-c", "-b", tmp_path / "users", "line", "right"], check=True)
    broker = Broker(port, tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'users'}")
    url = f"mqtt://line@127.0.0.1:{port}/plant/line"
    (tmp_path / "secret").write_text("right\n")
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(tmp_path / "secret"))
    assert run(Mqtt(url), results(3)).delivered == 3
    monkeypatch.delenv(f"{PASSWORD}_FILE")
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.warns(InputWarning, match="3 results lost"):
        state = run(Mqtt(url), results(3), patience=1.0)
    broker.stop()
    assert state.lost == 3 and state.fault == "the broker refuses: Not authorized"


WRONG_BROKERS = {
    "http://host/topic": "mqtt://",
    "mqtt://host": "a topic",
    "mqtt://host/": "a topic",
    "mqtt:///topic": "mqtt://",
    "mqtt://host/a/#": "a topic",
    "mqtt://host/a/+/b": "a topic",
    "mqtt://host:x/topic": "mqtt://",
    "mqtt://host:99999/topic": "mqtt://",
    "mqtt://user:secret@host/topic": "no password",
}


@pytest.mark.parametrize("url", WRONG_BROKERS)
def test_wrong_brokers(url: str) -> None:
    assert "secret" not in one_line(WRONG_BROKERS[url], lambda: Mqtt(url))
