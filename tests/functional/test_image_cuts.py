"""Layers arrive whole when connections are cut at any byte, of a request or of an answer."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import random
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_files import LAYER, config, manifest, send_base, tar_of
from registry_server import CuttingProxy, KeepingRegistry, running_registry

from facectl.container_images import registries, uploads
from facectl.container_images.bases import open_base
from facectl.container_images.blobs import BytesBlob, sha256
from facectl.container_images.registries import Registry, RegistryBlob, UnavailableError
from facectl.container_images.uploads import Target, send_image
from facectl.errors import CloudError
from facectl.retry import Backoff

PART = 4_096
DATA = random.Random(0).randbytes(4 * PART)
ATTEMPTS = 14
# Around the ends of parts, and anywhere; headers are some hundred bytes of it.
PLACES = st.one_of(
    st.integers(0, 3_000),
    st.integers(0, 5 * PART),
    st.integers(0, 4).flatmap(lambda part: st.integers(part * PART - 2, part * PART + 2)),
).map(lambda place: max(0, place))
CUTS = st.lists(st.one_of(st.none(), PLACES), max_size=6)
SIZES = st.sampled_from([0, 1, PART - 1, PART, PART + 1, 2 * PART, len(DATA)])
numbers = itertools.count(1)


def quick() -> Backoff:
    return Backoff(
        attempts=ATTEMPTS,
        is_transient=lambda error: isinstance(error, UnavailableError),
        sleep=lambda _seconds: None,
    )


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "_PART", PART)
        yield


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@contextlib.contextmanager
def through(
    address: str, cuts: list[int | None], answers: list[int | None], always: int | None = None
) -> Iterator[tuple[Registry, CuttingProxy]]:
    """A registry behind a proxy that cuts."""
    proxy = CuttingProxy(address)
    proxy.cuts, proxy.answer_cuts, proxy.always = [*cuts], [*answers], always
    registry = Registry(proxy.address, plain=True, backoff=quick)
    yield registry, proxy
    registry.close()
    proxy.close()


def fresh(size: int) -> bytes:
    """Bytes that no registry has."""
    return next(numbers).to_bytes(8, "big") + DATA[:size]


def held(address: str, repository: str, digest: str) -> bytes | None:
    """What a registry answers for a blob, without a proxy; None: it does not have it."""
    answer = httpx.get(f"http://{address}/v2/{repository}/blobs/{digest}")
    return None if answer.status_code == 404 else answer.content


@settings(max_examples=40, deadline=None)
@given(size=SIZES, cuts=CUTS, answers=CUTS)
@example(size=len(DATA), cuts=[0, 0, 0], answers=[])
@example(size=len(DATA), cuts=[], answers=[0, 1, 100])
@example(size=0, cuts=[0], answers=[None, 0])
def test_an_image_arrives_whole(
    address: str, size: int, cuts: list[int | None], answers: list[int | None]
) -> None:
    layer, described = fresh(size), config()
    made = manifest(described, layer)
    with through(address, cuts, answers) as (registry, _):
        blobs = [BytesBlob(layer), BytesBlob(described)]
        send_image(Target(registry, "whole"), "1", made, blobs)
    assert held(address, "whole", sha256(layer)) == layer
    with through(address, [], []) as (registry, _):
        assert registry.manifest("whole", "1")[0] == made


@settings(max_examples=40, deadline=None)
@given(size=SIZES, cuts=CUTS, answers=CUTS)
def test_a_registry_that_keeps_parts_gets_the_rest(
    size: int, cuts: list[int | None], answers: list[int | None]
) -> None:
    keeping, layer = KeepingRegistry(), fresh(size)
    try:
        with through(keeping.address, cuts, answers) as (registry, _):
            upload = uploads.Upload(
                Target(registry, "keeps"), BytesBlob(layer), uploads.Progress(0, lambda *_: None)
            )
            upload.run()
        assert keeping.blobs == {sha256(layer): layer}
    finally:
        keeping.close()


@settings(max_examples=40, deadline=None)
@given(size=SIZES, offset=st.integers(0, len(DATA)), cuts=CUTS, answers=CUTS)
@example(size=len(DATA), offset=0, cuts=[], answers=[0, 5_000, 200, 6_000])
def test_a_base_layer_is_read_whole(
    address: str, size: int, offset: int, cuts: list[int | None], answers: list[int | None]
) -> None:
    layer = fresh(size)
    offset = min(offset, len(layer) - 1)
    with through(address, [], []) as (registry, _):
        send_image(Target(registry, "base"), "1", manifest(config(), layer), [
            BytesBlob(layer), BytesBlob(config()),
        ])  # fmt: skip
    with through(address, cuts, answers) as (registry, _):
        blob = RegistryBlob(registry, "base", sha256(layer), len(layer), quick)
        with blob.read(offset) as pieces:
            assert b"".join(pieces) == layer[offset:]


@settings(max_examples=15, deadline=None)
@given(read=CUTS, sent=CUTS, answered=CUTS)
def test_a_base_layer_is_passed_on_whole(
    address: str, read: list[int | None], sent: list[int | None], answered: list[int | None]
) -> None:
    layer = fresh(len(DATA))
    made = manifest(config(), layer)
    with through(address, [], []) as (registry, _):
        own = [BytesBlob(layer), BytesBlob(config())]
        send_image(Target(registry, "from"), "1", made, own)
    with (
        through(address, [], read) as (source, _),
        through(address, sent, answered) as (registry, _),
    ):
        blob = RegistryBlob(source, "from", sha256(layer), len(layer), quick)
        send_image(Target(registry, "to"), "1", made, [blob, BytesBlob(config())])
    assert held(address, "to", sha256(layer)) == layer


def test_a_base_image_without_a_variable_for_python_is_read_whole(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layers are read to find the interpreter, before anything is sent."""
    filler = {f"usr/share/{n}": random.Random(n).randbytes(9_000) for n in range(3)}
    layer = tar_of({**filler, "usr/local/bin/python3.12": b"#!python"})
    described = config(layer=layer, Env=["PATH=/usr/bin"])
    packed = gzip.compress(layer, mtime=0)
    with through(address, [], []) as (registry, _):
        made = manifest(described, packed)
        blobs = [BytesBlob(described), BytesBlob(packed)]
        send_image(Target(registry, "silent"), "1", made, blobs)
    monkeypatch.setattr(registries, "short_backoff", quick)
    # Manifest, configuration and layer come over one connection, so the first cut is in the layer.
    with through(address, [], [12_000, 300, 2_000]) as (_, proxy):
        base = open_base(f"{proxy.address}/silent:1", "amd64")
        assert base.python == "3.12"
        assert proxy.made >= 1


@pytest.mark.parametrize("always", [0, 90, 3_000])
def test_a_connection_that_always_breaks_is_an_error_with_the_next_command(
    address: str, always: int
) -> None:
    layer = fresh(len(DATA))
    with through(address, [], [], 0) as (registry, proxy):
        with pytest.raises(CloudError, match=r"Sending a layer to .*/never was cut off") as caught:
            send_image(Target(registry, "never"), "1", b"{}", [BytesBlob(layer)])
        assert "facectl deploy" in str(caught.value.hint)
        assert proxy.connections <= 2 * ATTEMPTS
    assert held(address, "never", sha256(layer)) is None

    with through(address, [], []) as (registry, _):
        send_base(registry, "breaks", "1")
        packed = gzip.compress(LAYER, mtime=0)
    with through(address, [], [], min(always, 90)) as (registry, proxy):
        blob = RegistryBlob(registry, "breaks", sha256(packed), len(packed), quick)
        with (
            pytest.raises(CloudError, match=r"Reading a layer of .*/breaks broke off after 0.0 MB")
            as caught,
            blob.read() as pieces,
        ):  # fmt: skip
            b"".join(pieces)
        assert "docker save" in str(caught.value.hint)
        assert proxy.connections <= 2 * ATTEMPTS


def test_an_upload_that_always_starts_again_ends(address: str) -> None:
    """docker-registry gives up an upload whose part was cut off: each try sends parts and fails."""
    layer = fresh(len(DATA))
    proxy_cut = 2 * PART + 600
    with through(address, [proxy_cut] * 200, []) as (registry, proxy):
        with pytest.raises(CloudError, match="started again, and came no further"):
            send_image(Target(registry, "again"), "1", b"{}", [BytesBlob(layer)])
        assert proxy.connections < 4 * ATTEMPTS


def test_what_arrived_before_an_error_is_not_sent_again(address: str) -> None:
    first, second = fresh(100), fresh(len(DATA))
    target = "continues"
    with through(address, [], []) as (registry, _):
        send_image(Target(registry, target), "0", manifest(config(), first), [
            BytesBlob(first), BytesBlob(config()),
        ])  # fmt: skip
    with through(address, [], [], 0) as (registry, _), pytest.raises(CloudError):
        send_image(Target(registry, target), "1", b"{}", [BytesBlob(first), BytesBlob(second)])
    with through(address, [], []) as (registry, _):
        blobs = [BytesBlob(first), BytesBlob(second), BytesBlob(config())]
        sent = send_image(Target(registry, target), "1", manifest(config(), second), blobs)
    assert sent == len(second)
