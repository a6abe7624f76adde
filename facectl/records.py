"""Stores a record for each deployment, and which record is current.

    deployments/current                          the name of a record
    deployments/records/ID/TARGET-REGION-ACCOUNT.json

A record holds a deployment and the options of its last deploy in one file, so
that they always match. The account is `unknown` until it is read from AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from facectl import old_records, paths
from facectl.context import Deployment, Key
from facectl.errors import InputError
from facectl.naming import is_asu_id


def remember(deployment: Deployment, options: Mapping[str, Any] | None = None) -> Path:
    """Write the record of the deployment and make it the current one.

    `options` None keeps the recorded options. A record without an account is
    replaced by the one with the account.
    """
    with _locked():
        file = _file(deployment.key)
        before = replace(deployment, account=None).key
        if options is None:
            options = _options(deployment.key if file.exists() else before)
        _write(deployment, options)
        _make_current(deployment.key)
        if before != deployment.key:
            _file(before).unlink(missing_ok=True)
    return file


def forget(key: Key) -> None:
    """Delete the record of one deployment."""
    with _locked():
        # The account may have become known since the record was written.
        gone = (key, replace(key, account=None))
        if _read_current() in gone:
            _current_file().unlink()
        for each in gone:
            _file(each).unlink(missing_ok=True)


def use(key: Key) -> None:
    """Make a recorded deployment the current one."""
    with _locked():
        _make_current(key)


def current() -> Key | None:
    """The deployment that commands use by default; None if there is none.

    Raises InputError if the file of an earlier version of facectl is damaged.
    """
    _migrate()
    key = _read_current()
    return key if key is not None and _file(key).exists() else None


def known(asu_id: str | None = None) -> list[Key]:
    """The recorded deployments, of one ASU ID or of all.

    Raises InputError if the file of an earlier version of facectl is damaged.
    """
    _migrate()
    if asu_id is None:
        found = sorted(_records().glob("*/*.json"))
    else:
        _check_migrated(asu_id)
        found = sorted((_records() / asu_id).glob("*.json"))
    names = (Key.parse(f"{file.parent.name}/{file.stem}") for file in found)
    keys = [key for key in names if key is not None]
    # An interrupted `remember` leaves the record without the account beside the new one.
    return [
        key
        for key in keys
        if key.account is not None or not any(_is_same_place(key, other) for other in keys)
    ]


def find(key: Key) -> Key | None:
    """The key of the deployment's record, with or without account; None without a record."""
    keys = known(key.asu_id)
    return next((each for each in (key, replace(key, account=None)) if each in keys), None)


def read(key: Key) -> Deployment:
    """The recorded deployment; raises InputError if its file is damaged."""
    return _parse(_load(key), key)


def recall(key: Key) -> Deployment | None:
    """The recorded deployment; None without a record."""
    found = find(key)
    return None if found is None else read(found)


def options(key: Key) -> dict[str, Any]:
    """The options of the deployment's last deploy; empty without a record."""
    found = find(key)
    return {} if found is None else _options(found)


def read_all() -> list[Deployment | InputError]:
    """Every recorded deployment, or the error of its damaged file."""
    _migrate()
    damaged = [found for found in old_records.read(_folder()) if isinstance(found, InputError)]
    return [*map(_read_or_error, known()), *damaged]


def _folder() -> Path:
    return paths.state_dir() / "deployments"


def _records() -> Path:
    return _folder() / "records"


def _file(key: Key) -> Path:
    return _records() / f"{key.name}.json"


def _current_file() -> Path:
    return _folder() / "current"


def _read_or_error(key: Key) -> Deployment | InputError:
    try:
        return read(key)
    except InputError as error:
        return error


def _is_same_place(key: Key, other: Key) -> bool:
    return key != other and replace(other, account=None) == key


def _current_text() -> str:
    try:
        return _current_file().read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _read_current() -> Key | None:
    text = _current_text()
    if not is_asu_id(text):
        return Key.parse(text)
    # Earlier versions wrote only the ASU ID.
    _check_migrated(text)
    found = list((_records() / text).glob("*.json"))
    return Key.parse(f"{text}/{found[0].stem}") if len(found) == 1 else None


def _make_current(key: Key) -> None:
    with paths.atomic_write(_current_file()) as stream:
        stream.write(key.name.encode())


def _write(deployment: Deployment, options: Mapping[str, Any]) -> None:
    record = {**asdict(replace(deployment, account=deployment.key.account)), "options": options}
    with paths.atomic_write(_file(deployment.key)) as stream:
        stream.write(json.dumps(record, indent=2).encode())


def _load(key: Key) -> dict[str, Any]:
    file = _file(key)
    try:
        data = json.loads(file.read_text())
        if not isinstance(data, dict):
            raise TypeError("it holds no JSON object")
    except (ValueError, TypeError, OSError) as error:
        raise _damage(key, error) from error
    return data


def _parse(data: Mapping[str, Any], key: Key) -> Deployment:
    try:
        deployment = Deployment.parse(data)
        if deployment.key != key:
            raise ValueError(f"it describes {deployment.key}")
    except (ValueError, TypeError, InputError) as error:
        raise _damage(key, error) from error
    return deployment


def _options(key: Key) -> dict[str, Any]:
    if not _file(key).exists():
        return {}
    data = _load(key).get("options", {})
    if not isinstance(data, dict):
        raise _damage(key, "its options are no JSON object")
    return data


def _damage(key: Key, error: object) -> InputError:
    file = _file(key)
    # Resources have fixed names, so a deploy finds them without the record.
    return InputError(
        f"{file} is damaged: {error}", hint=f"rm '{file}'; facectl deploy {key.flags}"
    )


@contextmanager
def _locked() -> Iterator[None]:
    """Lock the records for writing, and migrate old files."""
    with paths.locked(_folder() / ".lock"):
        _migrate_locked()
        yield


def _migrate() -> None:
    if old_records.present(_folder()):
        with _locked():
            pass


def _migrate_locked() -> None:
    """Migrate the files of earlier versions to records; leave damaged files.

    Each record is complete before its old files are archived, so the next command
    finishes an interrupted migration. An existing record is newer and is kept.
    """
    for old in old_records.read(_folder()):
        if isinstance(old, InputError):
            continue
        deployment = old.deployment
        if not _file(deployment.key).exists():
            _write(deployment, old.options)
        if _current_text() == deployment.asu_id:
            _make_current(deployment.key)
        old_records.archive(_folder(), deployment.asu_id)


def _check_migrated(asu_id: str) -> None:
    """Raise InputError if an earlier version's files of this ASU ID are damaged."""
    for found in old_records.read(_folder(), asu_id):
        if isinstance(found, InputError):
            raise found
