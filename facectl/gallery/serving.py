"""The status of the gallery: on this computer, published, and served by the function."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import Any

from facectl.aws import Clients
from facectl.gallery import forgetting, publish
from facectl.gallery.forgetting import Pending
from facectl.gallery.store import Store
from facectl.logs.source import LogSource, NoLogYetError
from facectl.logs.times import Window
from facectl.naming import RECOGNITION_FUNCTION
from lambda_src.gallery.parts import Manifest

# Seconds to look back, tried in turn: the log can only be read from its oldest event.
_WINDOWS = (3600, 86_400, 14 * 86_400)
# Seconds by which this computer's clock may be behind that of CloudWatch.
_CLOCK_TOLERANCE = 3600.0


def state(clients: Clients) -> dict[str, Any]:
    """`here`, `published` and `serving`, each None if missing, and `problems` as sentences.

    `others`: the published galleries of other models, which no function reads.
    `forgetting`: the buckets that may still contain forgotten people.
    """
    there = publish.inspect(clients)
    here, pending = _here(clients)
    serving, refusal = _serving(clients)
    problems = [there.problem] if there.problem else []
    problems += [each.warning for each in pending]
    manifest = there.manifest
    # An older refusal concerns an earlier manifest.
    if refusal is not None and manifest is not None and refusal[0] >= manifest.published:
        problems.append(f"face-recognition refused the gallery: {refusal[1]}")
    published = None
    if manifest is not None:
        published = _published(manifest)
    lineage = here.pop("lineage") if here else None
    if here and manifest and manifest.lineage == lineage:
        if manifest.version < here["version"]:
            problems.append(f"version {here['version']} is not published: facectl gallery publish")
    elif here and published and there.problem is None:
        problems.append("the published gallery is not the one on this computer")
    return {
        "here": here,
        "published": published,
        "serving": serving,
        "others": [_published(each) for each in publish.others(clients)],
        "forgetting": [{"bucket": each.bucket, "since": each.since} for each in pending],
        "problems": problems,
    }


def _published(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": manifest.version,
        "people": manifest.people,
        "rows": manifest.rows,
        "published": manifest.published,
        "space": manifest.space,
    }


def _here(clients: Clients) -> tuple[dict[str, Any] | None, list[Pending]]:
    store = Store.find(clients.deployment.asu_id)
    if store is None:
        return None, []
    with closing(store):
        facts = {
            "version": store.version,
            "people": len(store.people()),
            "space": store.space,
            "lineage": store.lineage,
        }
        return facts, forgetting.pending(store)


def _serving(clients: Clients) -> tuple[dict[str, Any] | None, tuple[str, str] | None]:
    """The version the function loaded last, and the time and reason of a later refusal."""
    for seconds in _WINDOWS:
        loaded: dict[str, Any] | None = None
        refusal: tuple[str, str] | None = None
        lines = _lines(clients, seconds)
        for line in lines:
            if line.get("level") == "INFO":
                loaded = {
                    key: line.get(key) for key in ("version", "people", "rows", "space", "time")
                }
                refusal = None
            elif line.get("error") in ("refused", "failed"):
                refusal = str(line.get("time")), str(line.get("message"))
        if lines:
            return loaded, refusal
    return None, None


def _lines(clients: Clients, seconds: int) -> list[dict[str, Any]]:
    """The function's log lines about the gallery of the last `seconds`, oldest first."""
    now = time.time()
    window = Window(now - seconds, now + _CLOCK_TOLERANCE)
    events = LogSource(clients).events(RECOGNITION_FUNCTION, window, pattern='"gallery"')
    try:
        return [line for event in events if (line := _line(event.message)) is not None]
    except NoLogYetError:
        return []


def _line(message: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(message)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and fields.get("stage") == "gallery" else None
