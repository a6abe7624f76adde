"""Coverage-guided fuzzing of all that reads bytes from outside: `make fuzz SECONDS=600`.

    python tests/fuzz/fuzz.py TARGET FOLDER [libFuzzer's options]

TARGET is one of request, message, image, gallery; FOLDER keeps what was found
interesting. It ends with a finding at any exception that the code does not
document, and at more memory than -rss_limit_mb.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lambda_src", "PIL", "json", "base64"]):
    import numpy as np
    from PIL import Image

    from lambda_src.contract import (
        FaceMessage,
        FrameRequest,
        FrameResult,
        MessageError,
        RequestError,
        salvaged_request_id,
    )
    from lambda_src.gallery.matching import GalleryFormatError
    from lambda_src.gallery.parts import FLOAT32, INT8, Manifest, PartRef, read_part, write_part
    from lambda_src.vision.crops import decode_crop
    from lambda_src.vision.image import ImageError, decode_image

# Small, so that a second is many images; the guard is the same.
MAX_PIXELS = 250_000


def request(data: bytes) -> None:
    """The POST body."""
    with contextlib.suppress(RequestError):
        FrameRequest.parse(data, max_image_bytes=10_000)
    with contextlib.suppress(RequestError):
        FrameRequest.parse(data.decode("utf-8", "replace"), max_image_bytes=10_000)


def message(data: bytes) -> None:
    """The messages of both queues. What is read can be written, as JSON that anybody reads."""
    text = data.decode("utf-8", "surrogateescape")
    salvaged_request_id(text)
    for parse in (FaceMessage.parse, FrameResult.parse):
        with contextlib.suppress(MessageError):
            json.loads(parse(text).serialise(), parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def image(data: bytes) -> None:
    """The image file of a frame, and of a crop."""
    with contextlib.suppress(ImageError):
        pixels = decode_image(data, max_bytes=100_000, max_pixels=MAX_PIXELS)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise AssertionError(f"{pixels.dtype} of shape {pixels.shape}")
    with contextlib.suppress(ValueError):
        decode_crop(data, "facenet")


def gallery(data: bytes) -> None:
    """A published manifest, and a part of it."""
    with contextlib.suppress(GalleryFormatError):
        Manifest.parse(data)
    with contextlib.suppress(GalleryFormatError):
        part = read_part(data)
        if len(part.names) != len(part.vectors):
            raise AssertionError("names without vectors")


def seeds(target: str) -> Iterator[bytes]:
    """Good ones to begin with."""
    rows = np.eye(2, 512, dtype=np.float32)
    picture = Image.fromarray(np.arange(4800, dtype=np.uint8).reshape(40, 40, 3))
    if target == "request":
        yield FrameRequest("r", "f", b"image", 2, True).serialise()
        yield b'{"request_id": "r", "content": "QUJD", "max_faces": 1e2}'
    elif target == "message":
        face = {"box": [1, 2, 3, 4], "probability": 0.5, "image": "QUJD"}
        yield json.dumps(
            {"request_id": "r", "filename": "f", "space": "s", "detail": True, "faces": [face],
             "timings_ms": {"detect": 1.5}}
        ).encode()  # fmt: skip
        named = {"box": [1, 2, 3, 4], "probability": 0.5, "name": "Ada", "distance": 0.5}
        yield json.dumps(
            {"request_id": "r", "result": "Ada", "faces": [named], "timings_ms": {"a": 1}}
        ).encode()
    elif target == "image":
        for kind, options in (
            ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}),
            ("WEBP", {"lossless": True}), ("PNG", {"save_all": True, "append_images": [picture]}),
        ):  # fmt: skip
            stream = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.save(stream, kind, exif=exif, **options)
            yield stream.getvalue()
    else:
        for encoding in (FLOAT32, INT8):
            part = write_part([("Ada", 1), ("Grace", 1)], rows, encoding)
            yield part
            ref = PartRef("0" * 64, len(part), 2)
            yield Manifest(
                "l", 1, "2026", "s", True, 0.9, "euclidean", "best", 2, encoding, (ref,)
            ).serialise()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": request,
    "message": message,
    "image": image,
    "gallery": gallery,
}


def main() -> None:
    """Run one target."""
    name, folder, *options = sys.argv[1:]
    kept = Path(folder) / name
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (kept / f"seed-{number}").write_bytes(seed)
    arguments = [sys.argv[0], str(kept), f"-artifact_prefix={kept}-", *options]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
