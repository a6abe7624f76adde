"""Import and export of galleries: files are read without executing code, and validated."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_data import DEPLOYMENT, SPACE, face, made, put
from typer.testing import CliRunner

from facectl.cli.app import app
from facectl.errors import GalleryError, InputError, ModelError
from facectl.gallery import exchange
from facectl.gallery.exchange import read_pairs
from facectl.models.spaces import RECORDED
from facectl.models.weights import RELEASES

COURSE = Path(__file__).parents[3] / "shared" / "samples" / "course-gallery.pt"


def test_the_gallery_of_the_course_is_read() -> None:
    if not COURSE.exists():
        pytest.skip("the sample course-gallery.pt is not on this computer")
    foreign = exchange.read(COURSE)
    assert len(foreign.names) == len(set(foreign.names)) == 90
    assert foreign.embeddings.shape == (90, 512)
    np.testing.assert_allclose(np.linalg.norm(foreign.embeddings, axis=1), 1, atol=1e-5)


def test_files_of_torch_save_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch (the models extra) is not installed")
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(1, 512, generator=generator) for _ in range(3)]
    # A view into a larger storage, and another precision.
    tensors.append(torch.randn(4, 512, generator=generator)[2:3])
    tensors.append(torch.randn(512, 2, generator=generator).t()[1])
    tensors.append(torch.randn(512, generator=generator, dtype=torch.float64))
    names = [f"p{i}" for i in range(len(tensors))]
    for saved in ([tensors, names], (tuple(tensors), names)):
        torch.save(saved, tmp_path / "g.pt")
        found, embeddings = read_pairs(tmp_path / "g.pt")
        assert found == names
        for tensor, embedding in zip(tensors, embeddings, strict=True):
            np.testing.assert_array_equal(tensor.reshape(-1).float().numpy(), embedding)
    torch.save([torch.stack([t.reshape(-1).float() for t in tensors]), names], tmp_path / "g.pt")
    assert read_pairs(tmp_path / "g.pt")[1].shape == (6, 512)


class Mischief:
    """A pickle that would create a file when it is read."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.arguments


def archive(file: Path, structure: bytes, **storages: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("archive/data.pkl", structure)
        for key, data in storages.items():
            target.writestr(f"archive/data/{key.removeprefix('s')}", data)
    return file


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, suffix: str) -> None:
    victim = tmp_path / "created"
    for call, arguments in (
        (Path.touch, (victim,)),
        (os.system, (f"touch {victim}",)),
        (eval, (f"open({str(victim)!r}, 'w')",)),
        (exec, (f"open({str(victim)!r}, 'w')",)),
    ):
        evil = Mischief(call, *arguments)
        for data in (pickle.dumps(evil), pickle.dumps([[evil], ["Ada"]])):
            for file in (archive(tmp_path / f"a{suffix}", data), tmp_path / f"b{suffix}"):
                if not file.exists():
                    file.write_bytes(data)
                with pytest.raises(GalleryError):
                    exchange.read(file)
    stream = io.BytesIO()
    np.savez(stream, embeddings=np.zeros((1, 512)), names=np.array([Mischief(Path.touch, victim)]))
    (tmp_path / "objects.npz").write_bytes(stream.getvalue())
    with pytest.raises(GalleryError):
        exchange.read(tmp_path / "objects.npz")
    assert not victim.exists()


def test_the_error_names_the_requested_function(tmp_path: Path) -> None:
    file = archive(tmp_path / "evil.pt", pickle.dumps(Mischief(os.system, "true")))
    with pytest.raises(GalleryError, match=r"refers to (posix|nt)\.system.*no code was executed"):
        exchange.read(file)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (1, 512), (512, 2)), (1, (1, 512), (512, 1)), (-1, (1, 512), (512, 1)),
        (0, (1, 512), (512, -1)), (0, (1 << 20, 512), (0, 1)), (0, (0, 512), (512, 1)),
    ],
)  # fmt: skip
def test_a_tensor_outside_its_storage_is_refused(
    tmp_path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    structure = tensor_of(offset, size, stride)
    file = archive(tmp_path / "g.pt", structure, s0=np.ones(512, "<f4").tobytes())
    with pytest.raises(GalleryError, match="tensor"):
        read_pairs(file)


def test_a_tensor_within_its_storage_is_read(tmp_path: Path) -> None:
    data = np.arange(512, dtype="<f4")
    file = archive(tmp_path / "g.pt", tensor_of(0, (1, 512), (512, 1)), s0=data.tobytes())
    names, embeddings = read_pairs(file)
    assert names == ["Ada"]
    np.testing.assert_array_equal(embeddings[0], data)


def tensor_of(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of [[tensor], ["Ada"]] as torch writes it, with one tensor of this description."""

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
        + number(512) + b"tQ"
    )  # fmt: skip
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(size)
        + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip
    return b"\x80\x02](" + tensor + b"la(" + text("Ada") + b"la."


@pytest.mark.parametrize(
    "loaded",
    [
        [], [[], []], {"a": 1}, "text", [["x"], ["Ada"]], [[1.0], ["Ada"]], [None, None],
        [[], ["Ada"]],
    ],
)  # fmt: skip
def test_an_object_that_is_no_gallery_is_refused(tmp_path: Path, loaded: object) -> None:
    with pytest.raises(GalleryError):
        read_pairs(archive(tmp_path / "g.pt", pickle.dumps(loaded)))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"\x80\x02.", b"text"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "g.pt").write_bytes(data)
    with pytest.raises(GalleryError, match=r"torch\.save"):
        exchange.read(tmp_path / "g.pt")
    with pytest.raises(InputError, match="No file at"):
        exchange.read(tmp_path / "missing.pt")


def test_the_help_of_import_shows_the_brackets() -> None:
    for arguments in (["gallery", "import", "--help"], ["gallery", "--help"]):
        done = CliRunner().invoke(app, arguments)
        text = " ".join(done.stdout.replace("│", " ").split())
        assert "[embeddings, names] of torch.save" in text


def npz(file: Path, embeddings: np.ndarray, names: list[str]) -> Path:
    np.savez(file, embeddings=embeddings, names=np.array(names))
    return file


@pytest.mark.parametrize(
    ("embeddings", "text"),
    [
        (np.zeros((1, 512)), "zero or not finite"),
        (np.full((1, 512), np.nan), "zero or not finite"),
        (np.full((1, 512), np.inf), "zero or not finite"),
        (np.full((1, 512), 1e300), "zero or not finite"),
        (np.ones((1, 128)), "shape"),
        (np.ones((2, 512)), "shape"),
        (np.ones((1, 512), dtype=np.int64), "numbers"),
    ],
)
def test_invalid_embeddings_are_refused(tmp_path: Path, embeddings: np.ndarray, text: str) -> None:
    file = npz(tmp_path / "g.npz", embeddings, ["Ada"])
    with pytest.raises(GalleryError, match=text):
        exchange.read(file)


def test_imported_names_that_a_response_cannot_contain_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="can't be a name"):
        exchange.read(npz(tmp_path / "g.npz", np.ones((1, 512)), ["x" * 300]))


def test_an_exported_gallery_is_imported_unchanged(tmp_path: Path) -> None:
    store = made()
    put(store, Ada=2, Grace=1)
    assert exchange.write(store, tmp_path / "out.npz") == 3
    foreign = exchange.read(tmp_path / "out.npz")
    assert foreign.space == SPACE
    other = made("bob")
    assert exchange.add(other, foreign) == 3
    assert other.people() == store.people()
    np.testing.assert_allclose(other.rows()[1], store.rows()[1], atol=1e-6)
    # Existing references are not added again.
    assert exchange.add(other, foreign) == 0
    assert other.version == 1


@pytest.mark.parametrize("cut", [0, 10, 100, -10])
def test_a_truncated_export_is_refused(tmp_path: Path, cut: int) -> None:
    store = made()
    put(store, Ada=2)
    file = tmp_path / "out.npz"
    exchange.write(store, file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(GalleryError, match="can't be read as a gallery"):
        exchange.read(file)


def test_an_export_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    store = made()
    put(store, Ada=1)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="can't be written"):
        exchange.write(store, tmp_path / "file" / "out.npz")


def test_the_space_comes_from_weights_and_preprocessing(tmp_path: Path) -> None:
    digest = RELEASES["vggface2"].sha256
    assert exchange.space_of("vggface2", "cse546") == (f"{digest}/cse546", False)
    digest = RECORDED["casia-webface"]
    assert exchange.space_of("casia-webface", "facenet") == (f"{digest}/facenet", False)
    weights = tmp_path / "own.pt"
    weights.write_bytes(b"weights")
    with pytest.raises(ModelError, match="can't be read as weights"):
        exchange.space_of(str(weights), "facenet")
    with pytest.raises(InputError, match="--preprocessing must be"):
        exchange.space_of("vggface2", "mine")
    with pytest.raises(ModelError, match="No weights are called"):
        exchange.space_of("nothing", "facenet")


def test_a_file_without_a_space_needs_the_option_preprocessing(tmp_path: Path) -> None:
    file = npz(tmp_path / "g.npz", face(1)[None], ["Ada"])
    with pytest.raises(InputError, match="does not say how") as caught:
        exchange.read_source(DEPLOYMENT, file, None, "vggface2", published=False)
    assert "--preprocessing" in (caught.value.hint or "")
    foreign, _ = exchange.read_source(DEPLOYMENT, file, "facenet", "vggface2", published=False)
    with pytest.raises(GalleryError, match="can't be compared"):
        exchange.store_for(DEPLOYMENT, foreign, None)


def test_a_file_of_another_space_than_the_options_is_refused(tmp_path: Path) -> None:
    store = made()
    put(store, Ada=1)
    exchange.write(store, tmp_path / "out.npz")
    with pytest.raises(GalleryError, match=f"of embedding space {SPACE}, not of"):
        exchange.read_source(
            DEPLOYMENT, tmp_path / "out.npz", "cse546", "vggface2", published=False
        )
    foreign, origin = exchange.read_source(
        DEPLOYMENT, tmp_path / "out.npz", None, "vggface2", published=False
    )
    assert (foreign.space, origin) == (SPACE, None)


@pytest.mark.parametrize("arguments", [(None, False), (Path("x.npz"), True)])
def test_import_needs_exactly_one_source(arguments: tuple[Path | None, bool]) -> None:
    with pytest.raises(InputError, match="say what to import"):
        exchange.read_source(DEPLOYMENT, arguments[0], None, "vggface2", arguments[1])


def test_an_incomplete_header_is_refused(tmp_path: Path) -> None:
    header = np.frombuffer(json.dumps({"names": ["Ada"]}).encode(), np.uint8)
    np.savez(tmp_path / "g.npz", embeddings=face(1)[None], header=header)
    with pytest.raises(GalleryError, match="can't be read as a gallery"):
        exchange.read(tmp_path / "g.npz")
