"""Naming, ignoring and correcting people from the page: POST requests, one after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from facectl.errors import FacectlError, InputError
from facectl.gallery.store import Store
from facectl.strangers import store as strangers
from facectl.strangers.actions import StrangerActions
from facectl.strangers.models import Done, StrangerGroup
from facectl.watch.state import WatchState

# Bytes of a request: names and ids.
_LARGEST = 64 * 1024
# Actions that can be undone, the newest of them.
_MOST_UNDONE = 100


class PageActions:
    """The actions of the page on strangers and visits; shows what they change at once.

    `kept`: whether faces of strangers are kept, without which there are no groups. `show` makes the
    answer of an image file.
    """

    def __init__(
        self,
        actions: StrangerActions,
        state: WatchState,
        asu_id: str,
        *,
        kept: bool,
        show: Callable[[bytes | None], Response],
    ) -> None:
        self._show = show
        self._actions = actions
        self._state = state
        self._asu_id = asu_id
        self._kept = kept
        self._lock = threading.Lock()
        # For each action that can be undone, the visits that it changed, with their person before.
        self._before: list[dict[str, str | None]] = []
        self._done: Mapping[str, Callable[[Mapping[str, Any]], Done]] = {
            "name": self._name,
            "ignore": lambda given: self._actions.ignore(_text(given, "group")),
            "split": lambda given: self._actions.split(
                _text(given, "group"), _texts(given, "faces") if given.get("faces") else None
            ),
            "merge": lambda given: self._actions.merge(_texts(given, "groups")),
            "forget": lambda given: self._actions.forget(_text(given, "group")),
            "correct": self._correct,
            "undo": self._undo,
        }

    def routes(self) -> list[BaseRoute]:
        """The addresses of the actions and of the strangers' crops."""
        return [
            Route("/actions/{action}", self._answer, methods=["POST"]),
            Route("/stranger/{face}", self._crop, methods=["GET"]),
        ]

    def publish(self) -> None:
        """Show the groups as they are stored, and the names of the gallery."""
        with self._lock:
            value = {
                "kept": self._kept,
                "groups": self._groups(),
                "ungrouped": self._actions.ungrouped() if self._has_store() else 0,
                "names": self._names(),
            }
        if self._state.hub.value("strangers") != value:
            self._state.hub.put("strangers", value)

    def _groups(self) -> list[dict[str, Any]]:
        return [
            {
                "id": group.id,
                "label": f"Stranger {group.id.removeprefix('s-')}",
                "faces": group.faces,
                "visits": list(group.visits),
                "seen": group.last_seen.timestamp(),
                "best": list(group.best),
            }
            for group in self._stored_groups()
        ]

    def _stored_groups(self) -> list[StrangerGroup]:
        return self._actions.groups() if self._has_store() else []

    def _has_store(self) -> bool:
        """Whether strangers are kept; the first face makes the file."""
        return self._kept and strangers.path(self._asu_id).exists()

    def _names(self) -> list[str]:
        store = Store.find(self._asu_id)
        enrolled: set[str] = set()
        if store is not None:
            with closing(store):
                enrolled = set(store.people())
        return sorted(enrolled | self._state.names(), key=str.casefold)

    async def _answer(self, request: Request) -> Response:
        action = self._done.get(request.path_params["action"])
        if action is None:
            return _refused("There is no such action.", status=404)
        try:
            given = await _fields(request)
            done = await run_in_threadpool(self._act, action, given)
            await run_in_threadpool(self.publish)
        except FacectlError as error:
            return _refused(str(error), error.hint)
        return JSONResponse({"sentence": done.sentence})

    def _act(self, action: Callable[[Mapping[str, Any]], Done], given: Mapping[str, Any]) -> Done:
        with self._lock:
            count = len(self._before)
            done = action(given)
            if action != self._undo and len(self._before) == count:
                # It changed no visit that is shown.
                self._before.append({})
            del self._before[:-_MOST_UNDONE]
            return done

    def _name(self, given: Mapping[str, Any]) -> Done:
        group, name = _text(given, "group"), _text(given, "name").strip()
        visits = next((each.visits for each in self._stored_groups() if each.id == group), ())
        done = self._actions.name(group, name, force=given.get("force") is True)
        self._remember(visits, name)
        return done

    def _correct(self, given: Mapping[str, Any]) -> Done:
        visit = _text(given, "visit")
        person = None if given.get("person") is None else _text(given, "person").strip()
        done = self._actions.correct(visit, person)
        self._remember([visit], person)
        return done

    def _remember(self, visits: Any, person: str | None) -> None:
        self._before.append({visit: self._state.state_person(visit, person) for visit in visits})

    def _undo(self, _: Mapping[str, Any]) -> Done:
        done = self._actions.undo()
        for visit, person in (self._before.pop() if self._before else {}).items():
            self._state.state_person(visit, person, stated=False)
        return done

    async def _crop(self, request: Request) -> Response:
        try:
            file = await run_in_threadpool(self._actions.crop, request.path_params["face"])
        except FacectlError:
            return self._show(None)
        return self._show(file)


async def _fields(request: Request) -> Mapping[str, Any]:
    """The JSON object of a request; raises InputError."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise InputError("an action is a JSON object")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            raise InputError("the request is too large")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("an action is a JSON object") from error
    if not isinstance(fields, dict):
        raise InputError("an action is a JSON object")
    return fields


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} must be text")
    return value


def _texts(given: Mapping[str, Any], key: str) -> list[str]:
    values = given.get(key)
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise InputError(f"{key} must be a list of texts")
    return values


def _refused(message: str, hint: str | None = None, status: int = 400) -> Response:
    return JSONResponse({"error": message, "hint": hint}, status)
