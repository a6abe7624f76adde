"""Opens the receivers that `--on-visit` names: a webhook, MQTT broker, SNS topic or command."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from facectl.context import Deployment
from facectl.errors import InputError
from facectl.visits.command import Command
from facectl.visits.delivery import Receiver
from facectl.visits.topic import Topic
from facectl.visits.webhook import Webhook

SECRET = "FACECTL_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
PASSWORD = "FACECTL_MQTT_PASSWORD"  # noqa: S105 - as above
_FORMS = "http(s)://URL, mqtt(s)://USER@HOST, sns:TOPIC_ARN or command:PROGRAM"


def opened(address: str, source: str, secret_file: Path | None, deployment: Deployment) -> Receiver:
    """The receiver at an address; raises InputError for one that can never take an event.

    `source` is the name of the video or camera; topics are reached with the credentials of
    `deployment`. The secret of webhooks is the file's content, or the environment
    variable FACECTL_WEBHOOK_SECRET.
    """
    if address.startswith("command:"):
        return Command(address.removeprefix("command:"))
    if address.startswith("sns:"):
        return Topic(address.removeprefix("sns:"), deployment)
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InputError(f"--on-visit {_shown(address)} is not an address: {error}") from error
    if parts.scheme in {"http", "https"} and parts.hostname:
        return Webhook(address, _secret(secret_file))
    if parts.scheme in {"mqtt", "mqtts"}:
        return _broker(address, source)
    raise InputError(f"--on-visit can't use {_shown(address)}", hint=f"--on-visit {_FORMS}")


def _shown(address: str) -> str:
    """The address without user and password."""
    return address.rpartition("@")[2]


def _broker(address: str, source: str) -> Receiver:
    try:
        from facectl.visits.mqtt import Broker
    except ImportError as error:
        raise InputError(
            "MQTT needs the package paho-mqtt, which is not installed",
            hint="pip install 'facectl[events]'",
        ) from error
    broker = Broker(address, source, os.environ.get(PASSWORD))
    broker.connect()
    return broker


def _secret(file: Path | None) -> bytes | None:
    if file is None:
        text = os.environ.get(SECRET)
        return text.encode() if text else None
    try:
        secret = file.read_bytes().strip()
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}") from error
    if not secret:
        raise InputError(f"{file} is empty: it should have the secret of the webhook")
    return secret
