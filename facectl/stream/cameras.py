"""The cameras of one run: named sources, each with its own sampling and size.

They are the arguments of a command, or a YAML file:

    cameras:
      - name: door
        source: rtsp://camera.local/stream
        fps: 2
        max_side: 640
      - source: 0

What a camera does not say is as the command's options say. A relative path is relative
to the file's folder.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facectl.errors import InputError
from facectl.stream.frames import Encoding
from facectl.stream.live import Reconnection, without_password
from facectl.stream.sampling import Sampling
from facectl.stream.sources import Source, Video, is_live, open_source

# The longest name, and the largest file of cameras in bytes: a thousand cameras have 100 kB.
_LONGEST_NAME = 100
_LARGEST = 4 * 1024 * 1024
_EXAMPLE = "cameras: [{name: door, source: rtsp://camera.local/stream, fps: 2, max_side: 640}]"


@dataclass(frozen=True, slots=True)
class Camera:
    """One source of frames: a camera, a stream, a video or images; `name` is unique in a run."""

    name: str
    source: str
    sampling: Sampling
    encoding: Encoding

    @property
    def live(self) -> bool:
        """Whether it is a camera or a stream, whose frames can't be read again."""
        return is_live(self.source)

    @property
    def slug(self) -> str:
        """The name as a part of a file name."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-.") or "camera"

    def open(self, *, reconnection: Reconnection | None = None) -> Source:
        """Open the source under the camera's name; raises InputError."""
        source = open_source(
            [self.source],
            self.sampling,
            reconnection=reconnection,
            max_side=self.encoding.max_side,
        )
        source.name = self.name
        return source


def are_cameras(texts: Sequence[str]) -> bool:
    """Whether these arguments are several sources of frames, and not the images of one.

    Images that a shell's pattern found may be beside other files, so it is a video that decides.
    """
    return len(texts) > 1 and any(is_live(text) or _is_source(text) for text in texts)


def cameras_of(texts: Sequence[str], sampling: Sampling, encoding: Encoding) -> list[Camera]:
    """The cameras of a command's arguments, each named as its source; raises InputError."""
    found = [Camera(_default_name(text), text, sampling, encoding) for text in texts]
    _check_names(found, "")
    return found


def read_cameras(path: Path, sampling: Sampling, encoding: Encoding) -> list[Camera]:
    """The cameras of a YAML file; `sampling` and `encoding` are what a camera does not say.

    Raises InputError, which names the camera and the field.
    """
    entries = _entries(path)
    found = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: camera {number}"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is not a mapping", hint=_EXAMPLE)
        if "name" in entry:
            where = f"{where} ({entry['name']})"
        found.append(_camera(entry, path.parent, where, sampling, encoding))
    _check_names(found, f"{path}: ")
    return found


def _entries(path: Path) -> list[Any]:
    import yaml

    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is too large for a file of cameras")
        content = yaml.load(path.read_text(encoding="utf-8"), _loader())  # noqa: S506 - a safe one
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a YAML file: {reason}", hint=_EXAMPLE) from error
    if not isinstance(content, dict) or set(content) != {"cameras"}:
        raise InputError(f"{path} must contain `cameras` and nothing else", hint=_EXAMPLE)
    entries = content["cameras"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: `cameras` must be a list of cameras", hint=_EXAMPLE)
    return entries


def _loader() -> type[Any]:
    """A safe loader of YAML that refuses a field given twice: YAML's own takes the last."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc] # it has no types
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            name, count = Counter(names).most_common(1)[0] if names else ("", 0)
            if count > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} is given {count} times", node.start_mark
                )
            return super().construct_mapping(node, deep)

    return Loader


def _camera(
    entry: Mapping[Any, Any], folder: Path, where: str, sampling: Sampling, encoding: Encoding
) -> Camera:
    known = {"name", "source", "fps", "every", "max_frames", "max_side", "quality"}
    if unknown := sorted(str(key) for key in set(entry) - known):
        raise InputError(
            f"{where}: unknown field {unknown[0]}", hint=f"fields are {', '.join(sorted(known))}"
        )
    if "source" not in entry:
        raise InputError(f"{where} has no source", hint=_EXAMPLE)
    source = _source(entry["source"], folder, where)
    name = _name(entry["name"], where) if "name" in entry else _default_name(source)
    return Camera(
        name, source, _sampling(entry, where, sampling), _encoding(entry, where, encoding)
    )


def _sampling(entry: Mapping[Any, Any], where: str, sampling: Sampling) -> Sampling:
    if "fps" in entry or "every" in entry:
        if "fps" in entry and "every" in entry:
            raise InputError(f"{where}: fps and every both select frames", hint="give one of them")
        # The camera's own replaces both options of the command.
        sampling = replace(sampling, fps=None, every=1)
    if "fps" in entry:
        sampling = replace(sampling, fps=_number(entry["fps"], f"{where}: fps", least=0.001))
    if "every" in entry:
        sampling = replace(sampling, every=_whole(entry["every"], f"{where}: every", least=1))
    if "max_frames" in entry:
        limit = _whole(entry["max_frames"], f"{where}: max_frames", least=1)
        sampling = replace(sampling, limit=limit)
    return sampling


def _encoding(entry: Mapping[Any, Any], where: str, encoding: Encoding) -> Encoding:
    if "max_side" in entry:
        side = _whole(entry["max_side"], f"{where}: max_side", least=16)
        encoding = replace(encoding, max_side=side)
    if "quality" in entry:
        quality = _whole(entry["quality"], f"{where}: quality", least=1)
        if quality > 100:
            raise InputError(f"{where}: quality must be at most 100, not {quality}")
        encoding = replace(encoding, quality=quality)
    return encoding


def _source(value: Any, folder: Path, where: str) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text:
        raise InputError(f"{where}: source must be a path, an URL or a camera index")
    return text if is_live(text) else str(folder / text)


def _name(value: Any, where: str) -> str:
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InputError(f"{where}: name must be printable text")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"{where}: name must have at most {_LONGEST_NAME} characters")
    return name


def _number(value: Any, what: str, *, least: float) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN is not at least anything.
    if not fits or not least <= value < math.inf:
        raise InputError(f"{what} must be a number of at least {least:g}, not {value!r}")
    return float(value)


def _whole(value: Any, what: str, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{what} must be a whole number of at least {least}, not {value!r}")
    return value


def _default_name(source: str) -> str:
    if source.isdecimal() and is_live(source):
        return f"camera {source}"
    return without_password(source) if is_live(source) else source


def _check_names(cameras: Sequence[Camera], where: str) -> None:
    name, count = Counter(camera.name for camera in cameras).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{where}{count} cameras are named {name}", hint="each camera needs its own name"
        )


def _is_source(text: str) -> bool:
    """Whether the argument is a folder, or a file that opens as a video."""
    path = Path(text)
    if path.is_dir():
        return True
    try:
        return path.is_file() and isinstance(open_source([text], Sampling()), Video)
    except InputError:
        return False
