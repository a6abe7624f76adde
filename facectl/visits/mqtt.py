"""Publishes events to an MQTT broker, and sensors for Home Assistant: each person, who came last.

Topics, below PREFIX (default `facectl`) and the source:

    PREFIX/SOURCE/visits            every event as JSON
    PREFIX/SOURCE/status            online or offline, retained
    PREFIX/SOURCE/PERSON/state      ON or OFF, retained
    PREFIX/SOURCE/last              the last visit as JSON, retained
    homeassistant/…                 the sensors, by Home Assistant's MQTT discovery, retained
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from facectl.errors import InputError
from facectl.visits.delivery import UndeliveredError
from facectl.visits.event_queue import QueuedEvent
from facectl.visits.last_visit import LastVisit

PORTS = {"mqtt": 1883, "mqtts": 8883}
_TIMEOUT = 10.0
_KEEPALIVE = 20
_RECONNECT = (1, 15)
_STRANGER = "Unknown person"
# Reason codes for a wrong user or password, and for a user without rights.
_NOT_ALLOWED = frozenset({134, 135})


class Broker:
    """A broker, which the client connects to, and again after an outage.

    QoS 1: an event counts as delivered when the broker has confirmed it; one that the
    connection breaks on is sent again and may arrive twice, with the same id.
    """

    def __init__(self, url: str, source: str, password: str | None) -> None:
        address = urlsplit(url)
        if not address.hostname:
            raise InputError(
                f"--on-visit {address.scheme}:// has no host",
                hint="--on-visit mqtt://user@host:1883/prefix",
            )
        try:
            self._port = address.port if address.port is not None else PORTS[address.scheme]
        except ValueError as error:
            raise InputError(f"{address.hostname} has no valid port: {error}") from error
        self._host = address.hostname
        self._topic = f"{address.path.strip('/') or 'facectl'}/{slug(source)}"
        self._source = source
        self.name = f"{address.scheme}://{self._host}:{self._port}/{self._topic}"
        self.key = self.name
        self._open: dict[str, str | None] = {}
        self._states: dict[str | None, str] = {}
        self._last = LastVisit()
        self._last_announced = False
        # A reconnection must not publish a state that has just changed.
        self._changing = threading.Lock()
        # The event that is not confirmed yet, and the id of its message.
        self._sent: tuple[str, int] | None = None
        self._confirmed: set[int] = set()
        self._confirmation = threading.Condition()
        self._problem = "no connection"
        self._refused: str | None = None
        self._connected = threading.Event()
        self._tried = threading.Event()
        self._client = self._new_client(address.scheme == "mqtts")
        if address.username is not None:
            own = unquote(address.password) if address.password is not None else password
            self._client.username_pw_set(unquote(address.username), own)

    def connect(self, timeout: float = _TIMEOUT) -> None:
        """Connect in the background; raises InputError if the broker refuses user or password.

        A broker that can't be reached within `timeout` seconds is tried again later.
        """
        self._client.connect_async(self._host, self._port, keepalive=_KEEPALIVE)
        self._client.loop_start()
        self._tried.wait(timeout)
        if self._refused is not None:
            self.close()
            raise InputError(
                f"{self.name}: the broker refused the user or the password: {self._refused}",
                hint="FACECTL_MQTT_PASSWORD=… facectl send --on-visit mqtt://USER@HOST",
            )

    def deliver(self, event: QueuedEvent) -> None:
        """Publish an event and the sensors that it changes; raises UndeliveredError."""
        if not self._connected.wait(_TIMEOUT):
            raise UndeliveredError(self._problem)
        if self._sent is None or self._sent[0] != event.key:
            self._change_states(json.loads(event.body))
            info = self._client.publish(f"{self._topic}/visits", event.body, qos=1)
            self._sent = (event.key, info.mid)
        # After a reconnection the client library sends an unconfirmed message again.
        message = self._sent[1]
        with self._confirmation:
            if not self._confirmation.wait_for(lambda: message in self._confirmed, _TIMEOUT):
                raise UndeliveredError(self._problem)
            self._confirmed.clear()
        self._sent = None

    def close(self) -> None:
        """Say that the source is offline, and disconnect."""
        if self._connected.is_set():
            self._publish("status", "offline")
        self._client.disconnect()
        self._client.loop_stop()

    def _new_client(self, tls: bool) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(*_RECONNECT)
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        if tls:
            client.tls_set()
        return client

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._problem = f"the broker refuses the connection: {reason}"
            if reason.value in _NOT_ALLOWED:
                self._refused = str(reason)
        else:
            self._refused = None
            self._problem = "the broker does not confirm"
            self._connected.set()
            # A broker that was restarted may have lost what it retained.
            self._publish("status", "online")
            with self._changing:
                for person, state in self._states.items():
                    self._announce(person)
                    self._publish(f"{person_slug(person)}/state", state)
                self._last_announced = False
                self._publish_last()
            if self._last.value is None:
                # An earlier run's is retained, and a stranger of that run may be named now.
                self._client.subscribe(f"{self._topic}/last", qos=1)
        self._tried.set()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changing:
            if message.retain and self._last.recover(bytes(message.payload)):
                self._publish_last()

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._problem = "the broker can't be reached"
        self._tried.set()

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._connected.is_set():
            self._problem = f"the connection broke: {reason}"
        self._connected.clear()

    def _on_publish(
        self, _client: paho.Client, _data: Any, message: int, _reason: ReasonCode, _properties: Any
    ) -> None:
        with self._confirmation:
            self._confirmed.add(message)
            self._confirmation.notify_all()

    def _change_states(self, event: dict[str, Any]) -> None:
        """Publish who came and who left, for Home Assistant."""
        visit, person = event["visit"], event["person"]
        with self._changing:
            if self._last.see(event):
                self._publish_last()
            if event["event"] == "amend" and visit not in self._open:
                # Nobody comes or leaves, but a person who was named now gets a sensor.
                if person not in self._states:
                    self._set_state(person)
                return
            before = self._open.pop(visit, person)
            if event["event"] != "end":
                self._open[visit] = person
            for each in {before, person}:
                self._set_state(each)

    def _set_state(self, person: str | None) -> None:
        """Publish whether a person is there, and the sensor the first time."""
        if person not in self._states:
            self._announce(person)
        self._states[person] = "ON" if person in self._open.values() else "OFF"
        self._publish(f"{person_slug(person)}/state", self._states[person])

    def _announce(self, person: str | None) -> None:
        """Publish a person's sensor."""
        person_id = person_slug(person)
        fields = {
            "name": _STRANGER if person is None else person,
            "device_class": "occupancy",
            "state_topic": f"{self._topic}/{person_id}/state",
        }
        self._discover("binary_sensor", person_id, fields)

    def _publish_last(self) -> None:
        """Publish the last visit, if there was one, and its sensor."""
        if self._last.value is None:
            return
        topic = f"{self._topic}/last"
        fields = {
            "name": "Last visitor",
            "icon": "mdi:account-clock",
            "state_topic": topic,
            "value_template": f"{{{{ value_json.person or '{_STRANGER}' }}}}",
            "json_attributes_topic": topic,
        }
        if not self._last_announced:
            self._discover("sensor", "last", fields)
            self._last_announced = True
        self._publish("last", json.dumps(self._last.value))

    def _discover(self, component: str, object_id: str, fields: dict[str, Any]) -> None:
        """Publish a sensor. Source: Home Assistant, "MQTT", section "MQTT Discovery"."""
        node = self._topic.replace("/", "_")
        config = {
            **fields,
            "unique_id": f"facectl_{node}_{object_id}",
            "availability_topic": f"{self._topic}/status",
            "device": {"identifiers": [f"facectl_{node}"], "name": f"facectl {self._source}"},
            "origin": {"name": "facectl"},
        }
        topic = f"homeassistant/{component}/{_id(node)}/{object_id}/config"
        self._client.publish(topic, json.dumps(config), qos=1, retain=True)

    def _publish(self, topic: str, text: str) -> None:
        self._client.publish(f"{self._topic}/{topic}", text, qos=1, retain=True)


def slug(text: str) -> str:
    """The text as a level of a topic: letters, digits, `_` and `-`, different for each text."""
    return f"{_id(text.rpartition('/')[2])[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def person_slug(person: str | None) -> str:
    """The level of a topic for a person; None is somebody unknown."""
    return "unknown" if person is None else slug(person)


def _id(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", text)
