"""Weights: downloads from a local server, and files of the user."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from facectl.cli.models import download_bar
from facectl.errors import ModelError
from facectl.models import archive, weights
from facectl.models.weights import Release, fetch

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, with ranges; the first `break_after` connections break half-way."""

    break_after = 0
    ranges = True
    status = 200
    requests: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        begin = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        body = CONTENT[begin:]
        if self.server.break_after > 0:
            self.server.break_after -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    found.requests = []
    thread = Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def release(server: Server) -> Release:
    return Release(
        "vggface2", f"http://127.0.0.1:{server.server_port}/weights.pt", len(CONTENT), DIGEST
    )


def test_weights_are_downloaded_once(server: Server, release: Release) -> None:
    assert fetch(release).read_bytes() == CONTENT
    assert fetch(release) == release.file
    assert server.requests == [None]


def test_a_broken_download_is_resumed(server: Server, release: Release) -> None:
    server.break_after = 2
    waited: list[float] = []
    assert fetch(release, sleep=waited.append).read_bytes() == CONTENT
    assert server.requests[0] is None
    assert all(wanted is not None for wanted in server.requests[1:])
    assert waited == [1.0, 2.0]


def test_a_later_run_resumes_a_download(server: Server, release: Release) -> None:
    partial = release.file.with_suffix(".part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:1000])
    assert fetch(release).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]
    assert not partial.exists()


def test_the_progress_of_a_resumed_download_starts_at_its_size(
    server: Server, release: Release
) -> None:
    partial = release.file.with_suffix(".part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:1000])
    started: list[tuple[str, int | None, int]] = []
    blocks: list[int] = []

    def watch(
        name: str, size: int | None, have: int
    ) -> AbstractContextManager[Callable[[int], None]]:
        started.append((name, size, have))
        return nullcontext(blocks.append)

    fetch(release, watch=watch)
    assert started == [("vggface2", len(CONTENT), 1000)]
    assert sum(blocks) == len(CONTENT) - 1000


def test_the_command_line_shows_a_download(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(release, watch=download_bar)
    assert "Downloading vggface2" in capsys.readouterr().err


def test_a_download_restarts_if_the_server_has_no_ranges(server: Server, release: Release) -> None:
    server.ranges = False
    partial = release.file.with_suffix(".part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 1000)
    assert fetch(release).read_bytes() == CONTENT


def test_a_download_fails_after_four_attempts_and_keeps_its_part(
    server: Server, release: Release
) -> None:
    server.break_after = 99
    waited: list[float] = []
    with pytest.raises(ModelError, match="could not be downloaded"):
        fetch(release, sleep=waited.append)
    assert waited == [1.0, 2.0, 4.0]
    assert release.file.with_suffix(".part").stat().st_size > 0
    assert not release.file.exists()


@pytest.mark.parametrize(
    "change", [{"sha256": "0" * 64}, {"size": len(CONTENT) - 1}], ids=["digest", "size"]
)
def test_a_file_with_another_digest_or_size_is_removed(
    release: Release, change: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match="was not the published vggface2"):
        fetch(replace(release, **change))
    assert [file.suffix for file in release.file.parent.iterdir()] == [".lock"]


def test_a_damaged_file_in_the_cache_is_found(release: Release) -> None:
    release.file.parent.mkdir(parents=True)
    release.file.write_bytes(CONTENT[:-1] + b"\0")
    with pytest.raises(ModelError, match="has been removed"):
        fetch(release)
    assert fetch(release).read_bytes() == CONTENT


def test_without_a_published_digest_the_servers_length_is_checked(
    server: Server, release: Release
) -> None:
    server.break_after = 1
    found = fetch(replace(release, size=None, sha256=None), sleep=lambda _: None)
    assert found.read_bytes() == CONTENT


def test_an_unreachable_server_names_url_file_and_alternative(release: Release) -> None:
    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known")

    with pytest.raises(ModelError) as caught:
        fetch(release, transport=httpx.MockTransport(unreachable))
    assert release.url in str(caught.value)
    assert str(release.file) in str(caught.value)
    assert "--weights casia-webface" in str(caught.value.hint)


def test_an_error_response(server: Server, release: Release) -> None:
    server.status = 503
    with pytest.raises(ModelError, match="the server answers 503"):
        fetch(release)


def test_a_full_disk(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    def open_full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = original(self, mode, *args, **kwargs)
        return Full(stream) if self.suffix == ".part" and mode in {"ab", "wb"} else stream

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(ModelError, match="the disk is full") as caught:
        fetch(release)
    assert "facectl models build" in str(caught.value.hint)
    assert not release.file.exists()


def test_the_published_releases() -> None:
    vggface2 = weights.RELEASES["vggface2"]
    assert vggface2.size == 111_898_327
    assert vggface2.url.endswith("/20180402-114759-vggface2.pt")
    assert set(weights.RELEASES) == {"vggface2", "casia-webface"}


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


def state_dict(file: Path, network: torch.nn.Module) -> None:
    torch.save(network.state_dict(), file)


def old_state_dict(file: Path, network: torch.nn.Module) -> None:
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=False)


def trace(file: Path, network: torch.nn.Module) -> None:
    torch.jit.trace(network.eval(), torch.zeros(1, 3, 8, 8)).save(str(file))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("write", [state_dict, old_state_dict, trace])
def test_tensors_of_a_file(tmp_path: Path, write: Callable[[Path, torch.nn.Module], None]) -> None:
    network = Small()
    torch.nn.init.normal_(network.bn.running_mean)
    file = tmp_path / "weights.pt"
    write(file, network)
    found = archive.read_state(file)
    assert set(found) >= {"conv.weight", "conv.bias", "bn.weight", "bn.running_mean"}
    for name, tensor in network.state_dict().items():
        assert np.array_equal(found[name], tensor.numpy())


class Evil:
    """Executes code when an unrestricted unpickler reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('the file was executed')",))


def test_a_state_dict_executes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    torch.save(OrderedDict(weight=Evil()), file)
    with pytest.raises(ModelError, match="can't be read as weights"):
        archive.read_state(file)


def test_an_archive_executes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("evil/constants.pkl", b"")
        zipped.writestr("evil/data.pkl", pickle.dumps(Evil()))
    with pytest.raises(ModelError, match=r"refers to builtins\.exec, which weights never"):
        archive.read_state(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello" * 100, CONTENT[:5000]])
def test_files_that_are_not_weights(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(content)
    with pytest.raises(ModelError):
        archive.read_state(file)


def test_other_objects_that_torch_saves(tmp_path: Path) -> None:
    for thing in ([torch.zeros(3)], {}, {"epoch": 3}):
        torch.save(thing, tmp_path / "thing.pt")
        with pytest.raises(ModelError):
            archive.read_state(tmp_path / "thing.pt")
