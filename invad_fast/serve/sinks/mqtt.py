"""Results to an MQTT broker, at least once (QoS 1), and whether the station is there (last will).

Results go to the topic, ``online`` and ``offline`` to topic/state, where a broker keeps the last:
it says ``offline`` itself when the station has gone without a word. While the broker is away, what
was sent waits; the rest waits in the sink's queue, whose bound is the only one.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import unquote, urlsplit

from invad_fast.errors import InputError, first_line
from invad_fast.inspection.part import Result
from invad_fast.serve.sinks.outlet import Undelivered
from invad_fast.serve.sinks.secret import secret

PASSWORD = "INVAD_FAST_MQTT_PASSWORD"
_IN_FLIGHT = 20  # messages that were sent and not confirmed
_KEEPALIVE = 10  # seconds; a broker says "offline" after half as much again
_LONGEST_PAUSE = 10  # seconds between tries to reach the broker
_LOOKS = 0.1
_FORM = "mqtt://[user@]host[:port]/topic, or mqtts://… with TLS"


class Mqtt:
    """A client of one broker; connects by itself, again and again.

    Args:
        url: mqtt://[user@]host[:port]/topic; mqtts:// with TLS, by the system's authorities. The
            password is in the variable INVAD_FAST_MQTT_PASSWORD, or in the file that
            INVAD_FAST_MQTT_PASSWORD_FILE names.

    Raises:
        InputError: for another URL, and where paho-mqtt is not installed.
    """

    kind = "MQTT"

    def __init__(self, url: str) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise InputError("MQTT needs paho-mqtt: pip install 'invad-fast[mqtt]'") from None
        tls, user, host, port, self._topic = _parts(url)
        self._state_topic = f"{self._topic}/state"
        self.where = f"{host}:{port}/{self._topic}"
        self.fault = "it is being connected"
        self._sent: set[int] = set()
        self._early: set[int] = set()  # confirmed before `publish` had told their number
        self._greetings: set[int] = set()
        self._books = threading.Lock()  # of the sets; never held while paho is called
        # Paho calls back with its own locks held: a queue that never blocks is all it may touch.
        self._confirmed: SimpleQueue[int] = SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2, f"invad-fast-{secrets.token_hex(6)}")
        if user:
            self._client.username_pw_set(user, secret(PASSWORD))
        if tls:
            self._client.tls_set()
        self._client.will_set(self._state_topic, "offline", qos=1, retain=True)
        self._client.reconnect_delay_set(1, _LONGEST_PAUSE)
        self._client.max_inflight_messages_set(_IN_FLIGHT)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._not_reached
        self._client.on_disconnect = self._lost
        self._client.on_publish = self._published
        self._client.connect_async(host, port, _KEEPALIVE)
        self._client.loop_start()

    @property
    def unconfirmed(self) -> int:
        """Messages that the broker has not confirmed."""
        self._note_confirmed()
        return len(self._sent)

    def send(self, result: Result, stop: threading.Event) -> None:
        """Sends it as soon as fewer than 20 wait for the broker's word."""
        while self.unconfirmed >= _IN_FLIGHT:
            if stop.is_set():
                raise Undelivered(self.fault or "the broker did not confirm in time")
            self._await_confirmation(_LOOKS)
        message = json.dumps(result.row(), allow_nan=False)
        sent = self._client.publish(self._topic, message, qos=1)
        with self._books:
            if sent.mid in self._early:
                self._early.remove(sent.mid)
            else:
                self._sent.add(sent.mid)

    def close(self, patience: float) -> None:
        """Waits for what is not confirmed, and says "offline"."""
        until = time.monotonic() + patience
        while self.unconfirmed and (left := until - time.monotonic()) > 0:
            self._await_confirmation(min(left, _LOOKS))
        goodbye = self._client.publish(self._state_topic, "offline", qos=1, retain=True)
        if self._client.is_connected():
            while goodbye.mid not in self._early and (left := until - time.monotonic()) > 0:
                self._await_confirmation(min(left, _LOOKS))
        self._client.disconnect()
        self._client.loop_stop()

    def _await_confirmation(self, timeout: float) -> None:
        try:
            number = self._confirmed.get(timeout=timeout)
        except Empty:
            return
        with self._books:
            self._confirm(number)

    def _note_confirmed(self) -> None:
        with self._books:
            while True:
                try:
                    self._confirm(self._confirmed.get_nowait())
                except Empty:
                    return

    def _confirm(self, number: int) -> None:
        for known in (self._sent, self._greetings):
            if number in known:
                known.remove(number)
                return
        self._early.add(number)

    # ---- in paho's thread

    def _connected(self, client: Any, _: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self.fault = f"the broker refuses: {code}"
            return
        self.fault = ""
        greeting = client.publish(self._state_topic, "online", qos=1, retain=True)
        self._greetings.add(greeting.mid)

    def _not_reached(self, *_: Any) -> None:
        error = sys.exc_info()[1]  # paho calls while it handles it
        why = "" if error is None else f": {first_line(error)}"
        self.fault = f"the broker cannot be reached{why}"

    def _lost(self, client: Any, _: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure and not self.fault:
            self.fault = f"the broker is lost: {code}"

    def _published(self, client: Any, _: Any, number: int, code: Any, properties: Any) -> None:
        self._confirmed.put(number)


def _parts(url: str) -> tuple[bool, str, str, int, str]:
    """(TLS, user, host, port, topic)."""
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError as error:
        raise InputError(f"the broker's address is {_FORM}: {first_line(error)}") from None
    if found.scheme not in ("mqtt", "mqtts") or not found.hostname:
        raise InputError(f"the broker's address is {_FORM}")
    if found.password is not None:
        raise InputError(
            f"no password in the broker's address, where others see it: put it into {PASSWORD}, "
            f"or a file that {PASSWORD}_FILE names"
        )
    topic = unquote(found.path).strip("/")
    if not topic or set(topic) & set("+#\0") or set(url) & set("?#"):
        raise InputError(f"a topic without + and # belongs into the broker's address: {_FORM}")
    tls = found.scheme == "mqtts"
    return (
        tls,
        unquote(found.username or ""),
        found.hostname,
        port or (8883 if tls else 1883),
        topic,
    )
