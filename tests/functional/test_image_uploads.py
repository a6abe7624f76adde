"""Images reach a real registry, whatever happens to the connection."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from image_files import config, manifest, send_base
from registry_server import CuttingProxy, KeepingRegistry, running_registry

from facectl.container_images import media, uploads
from facectl.container_images.blobs import BytesBlob, FileBlob, sha256
from facectl.container_images.references import Reference
from facectl.container_images.registries import Registry, RegistryBlob, UnavailableError
from facectl.container_images.uploads import Progress, Target, Upload, send_image
from facectl.errors import CloudError, InputError
from facectl.retry import Backoff

DATA = random.Random(0).randbytes(300_000)
PART = 65_536


def quick() -> Backoff:
    return Backoff(
        attempts=8,
        is_transient=lambda error: isinstance(error, UnavailableError),
        sleep=lambda _seconds: None,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def registry(address: str) -> Iterator[Registry]:
    found = Registry(address, plain=True, backoff=quick)
    yield found
    found.close()


@pytest.fixture
def cutting(address: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(address)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PART", PART)
    monkeypatch.setattr(uploads, "_STEP", PART // 4)


def upload(registry: Registry, repository: str, data: bytes, other: str = "") -> int:
    progress = Progress(len(data), lambda _done, _total: None)
    Upload(Target(registry, repository, other), BytesBlob(data), progress).run()
    return progress.sent


def stored(registry: Registry, repository: str, data: bytes) -> bool:
    return registry.document(repository, sha256(data)) == data


def test_a_layer_is_sent_once(registry: Registry) -> None:
    assert upload(registry, "once", DATA) == len(DATA)
    assert stored(registry, "once", DATA)
    assert upload(registry, "once", DATA) == 0


def test_a_layer_is_mounted_from_another_repository(registry: Registry) -> None:
    data = b"shared" + DATA
    upload(registry, "mount-from", data)
    assert upload(registry, "mount-to", data, other="mount-from") == 0
    assert stored(registry, "mount-to", data)


def test_a_layer_that_can_not_be_mounted_is_sent(registry: Registry) -> None:
    data = b"alone" + DATA
    assert upload(registry, "unmounted", data, other="nothing-here") == len(data)


@pytest.mark.parametrize("size", [0, 1, 2, PART, PART + 1])
def test_layers_of_every_size_arrive(registry: Registry, size: int) -> None:
    data = DATA[:size]
    upload(registry, f"size-{size}", data)
    assert stored(registry, f"size-{size}", data)


# In the first headers, in the headers of a part, in the parts, at their last bytes.
CUTS = [1, 100, 250, 600, 1_000, 1_500, 30_000, PART, PART + 700, 200_000, 300_000, 301_000]


@pytest.mark.parametrize("cut", CUTS)
def test_an_upload_continues_after_a_cut(
    cutting: CuttingProxy, registry: Registry, cut: int
) -> None:
    data = cut.to_bytes(4, "big") + DATA
    cutting.cuts = [cut]
    through = Registry(cutting.address, plain=True, backoff=quick)
    upload(through, "cut", data)
    through.close()
    assert cutting.made == 1
    assert stored(registry, "cut", data)


def test_an_upload_continues_after_many_cuts(cutting: CuttingProxy, registry: Registry) -> None:
    chance = random.Random(1)
    cutting.cuts = [chance.randrange(1, 150_000) for _ in range(12)]
    through = Registry(cutting.address, plain=True, backoff=quick)
    data = b"many" + DATA
    upload(through, "cuts", data)
    through.close()
    assert stored(registry, "cuts", data)
    assert cutting.made > 2


@pytest.mark.parametrize("cut", CUTS)
def test_what_the_registry_has_is_not_sent_again(cut: int) -> None:
    registry = KeepingRegistry()
    proxy = CuttingProxy(registry.address)
    proxy.cuts = [cut, 70_000, 3]
    through = Registry(proxy.address, plain=True, backoff=quick)
    upload(through, "keeps", DATA)
    assert registry.blobs == {sha256(DATA): DATA}
    # Of a cut part, what the proxy had received and not yet passed on is sent again.
    assert proxy.received < len(DATA) + proxy.made * PART + 10_000
    assert len(registry.uploads) <= 2
    through.close()
    proxy.close()
    registry.close()


def test_a_registry_that_never_answers_is_an_error() -> None:
    dead = Registry("127.0.0.1:9", plain=True, backoff=quick)
    with pytest.raises(CloudError, match=r"registry 127\.0\.0\.1:9 does not answer"):
        upload(dead, "nowhere", DATA)


def test_a_truncated_layer_is_an_error(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "layer"
    file.write_bytes(DATA[:-5])
    blob = FileBlob(file, sha256(DATA), len(DATA))
    upload = Upload(Target(registry, "short"), blob, Progress(0, lambda *_: None))
    with pytest.raises(InputError, match="299995 of 300000 bytes: the image is damaged"):
        upload.run()


def test_a_layer_with_another_digest_is_an_error(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "layer"
    file.write_bytes(DATA)
    blob = FileBlob(file, sha256(b"other"), len(DATA))
    upload = Upload(Target(registry, "wrong"), blob, Progress(0, lambda *_: None))
    with pytest.raises(InputError, match="another content than its digest"):
        upload.run()


def test_an_image_is_stored_under_its_digest(registry: Registry) -> None:
    made = send_base(registry, "whole", "1")
    assert registry.manifest("whole", "1") == (made, media.MANIFEST)
    assert registry.manifest("whole", sha256(made)) == (made, media.MANIFEST)


def test_progress_tells_the_bytes_that_are_sent(registry: Registry) -> None:
    told: list[tuple[int, int]] = []
    layer, described = b"progress" + DATA, config()
    made = manifest(described, layer)
    blobs = [BytesBlob(layer), BytesBlob(described)]
    total = len(layer) + len(described)
    send = (Target(registry, "progress"), "1", made, blobs, lambda *seen: told.append(seen))
    assert send_image(*send) == total
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    # In steps smaller than a part.
    assert len({done for done, _ in told}) > len(layer) / PART
    assert send_image(*send) == 0
    assert told[-1] == (0, 0)


def test_progress_is_of_the_whole_layer_after_cuts(cutting: CuttingProxy) -> None:
    told: list[tuple[int, int]] = []
    layer, described = b"cut progress" + DATA, config()
    total = len(layer) + len(described)
    # On every connection, since the layer does not come first on each of them.
    cutting.cuts = [100_000] * 8
    through = Registry(cutting.address, plain=True, backoff=quick)
    blobs = [BytesBlob(layer), BytesBlob(described)]
    made = manifest(described, layer)
    send_image(Target(through, "cut-progress"), "1", made, blobs, lambda *seen: told.append(seen))
    through.close()
    # 300 kB need more than three connections.
    assert cutting.made >= 3
    assert told[-1][0] == told[-1][1] <= total
    assert all(0 <= done <= of <= total for done, of in told)


def test_the_first_failure_of_parallel_layers_is_raised(registry: Registry, tmp_path: Path) -> None:
    missing = FileBlob(tmp_path / "missing", sha256(b"x"), 1)
    with pytest.raises(InputError, match=r"missing can't be read: No such file"):
        send_image(Target(registry, "fails"), "1", b"{}", [BytesBlob(DATA), missing])
    with pytest.raises(InputError, match="has no image 1"):
        registry.manifest("fails", "1")


def test_a_password_that_expires_is_renewed() -> None:
    valid = ["first"]

    def answer(request: httpx.Request) -> httpx.Response:
        expected = base64.b64encode(f"AWS:{valid[0]}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return httpx.Response(401, headers={"www-authenticate": 'Basic realm="ecr"'})
        return httpx.Response(200, content=b"{}")

    client = httpx.Client(transport=httpx.MockTransport(answer))
    passwords = ["first", "second", "wrong"]
    registry = Registry(
        "r.test", login=lambda: ("AWS", passwords.pop(0)), client=client, backoff=quick
    )
    assert registry.manifest("base", "1")[0] == b"{}"
    valid[0] = "second"
    assert registry.manifest("base", "1")[0] == b"{}"
    valid[0] = "third"
    with pytest.raises(CloudError, match="answers 401"):
        registry.manifest("base", "1")


def test_a_private_image_is_refused_without_a_password() -> None:
    challenge = {"www-authenticate": 'Basic realm="ecr"'}
    client = httpx.Client(
        transport=httpx.MockTransport(lambda _request: httpx.Response(401, headers=challenge))
    )
    with pytest.raises(CloudError, match=r"r\.test asks for a password for base"):
        Registry("r.test", client=client, backoff=quick).manifest("base", "1")


class Tokens:
    """A registry that takes anonymous tokens: the one that it wants now."""

    def __init__(self) -> None:
        self.granted = 0
        self.wanted = 1

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            query = dict(request.url.params)
            assert query == {"service": "registry.test", "scope": "repository:base:pull"}
            self.granted += 1
            return httpx.Response(200, json={"token": f"t{self.granted}"})
        if request.headers.get("authorization") != f"Bearer t{self.wanted}":
            challenge = (
                'Bearer realm="https://registry.test/token",service="registry.test",'
                'scope="repository:base:pull"'
            )
            return httpx.Response(401, headers={"www-authenticate": challenge})
        return httpx.Response(200, content=b"{}", headers={"content-type": media.MANIFEST})


def test_an_anonymous_token_is_renewed() -> None:
    tokens = Tokens()
    client = httpx.Client(transport=httpx.MockTransport(tokens))
    registry = Registry("registry.test", client=client, backoff=quick)
    assert registry.manifest("base", "1")[0] == b"{}"
    assert registry.manifest("base", "1")[0] == b"{}"
    assert tokens.granted == 1
    tokens.wanted = 2
    assert registry.manifest("base", "1")[0] == b"{}"
    assert tokens.granted == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_that_is_not_granted_now_is_asked_for_again(status: int) -> None:
    tokens, busy = Tokens(), [status, status]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token" and busy:
            return httpx.Response(busy.pop(), json={"message": "Rate exceeded"})
        return tokens(request)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    registry = Registry("registry.test", client=client, backoff=quick)
    assert registry.manifest("base", "1")[0] == b"{}"
    assert (tokens.granted, busy) == (1, [])


def test_a_connection_that_breaks_after_the_last_byte_is_complete() -> None:
    class Cut(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield DATA
            raise httpx.RemoteProtocolError("cut")

    def answer(request: httpx.Request) -> httpx.Response:
        # As the HTTP specification says of a range that begins at the end.
        return httpx.Response(416 if "range" in request.headers else 200, stream=Cut())

    client = httpx.Client(transport=httpx.MockTransport(answer))
    registry = Registry("registry.test", client=client, backoff=quick)
    with RegistryBlob(registry, "base", sha256(DATA), len(DATA), quick).read() as pieces:
        assert b"".join(pieces) == DATA


def test_a_password_is_not_sent_to_another_host() -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.host == "storage.test":
            return httpx.Response(200, stream=httpx.ByteStream(DATA))
        if "authorization" not in request.headers:
            return httpx.Response(401, headers={"www-authenticate": 'Basic realm="x"'})
        return httpx.Response(307, headers={"location": "https://storage.test/blob?signed=1"})

    client = httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True)
    registry = Registry("registry.test", login=lambda: ("AWS", "secret"), client=client)
    assert registry.document("base", sha256(DATA)) == DATA
    assert ("storage.test", None) in seen
    assert {host for host, header in seen if header} == {"registry.test"}


def test_a_blob_is_read_from_an_offset_even_without_ranges() -> None:
    client = httpx.Client(
        transport=httpx.MockTransport(
            lambda _request: httpx.Response(200, stream=httpx.ByteStream(DATA))
        )
    )
    registry = Registry("registry.test", client=client, backoff=quick)
    with registry.blob("base", sha256(DATA), 123_456) as pieces:
        assert b"".join(pieces) == DATA[123_456:]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_is_asked_again(status: int) -> None:
    answers = [status, status, 200]

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(answers.pop(0), content=b"{}")

    client = httpx.Client(transport=httpx.MockTransport(answer))
    assert Registry("r.test", client=client, backoff=quick).manifest("base", "1")[0] == b"{}"


def test_the_registrys_words_are_told() -> None:
    errors = {"errors": [{"code": "DENIED", "message": "not yours"}]}
    client = httpx.Client(
        transport=httpx.MockTransport(lambda _request: httpx.Response(403, json=errors))
    )
    with pytest.raises(CloudError, match=r"r\.test answers 403, DENIED: not yours"):
        Registry("r.test", client=client, backoff=quick).manifest("base", "1")


def test_an_answer_with_another_digest_is_an_error() -> None:
    client = httpx.Client(
        transport=httpx.MockTransport(lambda _request: httpx.Response(200, content=b"{}"))
    )
    with pytest.raises(CloudError, match="digests differ"):
        Registry("r.test", client=client, backoff=quick).manifest("base", sha256(b"other"))


@pytest.mark.parametrize(
    ("text", "registry", "repository", "version"),
    [
        ("python", "registry-1.docker.io", "library/python", "latest"),
        ("docker.io/python:3", "registry-1.docker.io", "library/python", "3"),
        ("me/python:3", "registry-1.docker.io", "me/python", "3"),
        ("localhost:5000/a/b", "localhost:5000", "a/b", "latest"),
        ("public.ecr.aws/docker/library/python:3.12-slim-bookworm", "public.ecr.aws",
         "docker/library/python", "3.12-slim-bookworm"),
        (f"r.io/a:1@{sha256(b'')}", "r.io", "a", sha256(b"")),
    ],
)  # fmt: skip
def test_references_are_read_as_docker_reads_them(
    text: str, registry: str, repository: str, version: str
) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.version) == (registry, repository, version)


@pytest.mark.parametrize("text", ["", "A", "a:", "a:b:c", "a@sha256:12", "a@", "r.io/", "a b"])
def test_bad_references_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not the reference of an image"):
        Reference.parse(text)


def test_a_tag_that_is_there_with_the_same_image_is_no_error() -> None:
    """An immutable tag, after a request whose response was lost."""
    made = json.dumps({"schemaVersion": 2}).encode()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            errors = {"errors": [{"code": "TAG_INVALID", "message": "immutable"}]}
            return httpx.Response(400, json=errors)
        return httpx.Response(200, content=made)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    target = Target(Registry("r.test", client=client, backoff=quick), "base")
    send_image(target, "1", made, [])
    with pytest.raises(CloudError, match="TAG_INVALID"):
        send_image(target, "1", b"other", [])
