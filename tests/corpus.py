"""A corpus of bad requests: name, bytes of the POST body, allowed responses."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

BAD_IMAGE = {(400, "bad_image")}
TOO_LARGE = {(413, "image_too_large")}
UNSUPPORTED = {(400, "unsupported_image")}
GOOD = {(200, None)}


@dataclass(frozen=True)
class Bad:
    """A request body; `answers` are the pairs of status and code that are right for it."""

    name: str
    body: bytes
    answers: set[tuple[int, str | None]]


def corpus() -> Iterator[Bad]:
    """All of them, in an order that does not matter."""
    for name, image, answers in images():
        yield Bad(name, request(image), answers)
    yield from texts()
    yield from identifiers()
    yield from encodings()


def request(image: bytes, **fields: object) -> bytes:
    content = base64.b64encode(image).decode()
    return json.dumps({"content": content, "request_id": "bad", "filename": "f", **fields}).encode()


def images() -> Iterator[tuple[str, bytes, set[tuple[int, str | None]]]]:
    """Files that are no images, or more of an image than anybody wants."""
    picture = Image.new("RGB", (40, 30), (90, 120, 150))
    jpeg, gif = saved(picture, "JPEG"), saved(picture, "GIF")
    # All its pixels are there: 7.5 GB of zeros in 7 MB, so only the beginning of them.
    yield "PNG of 50,000 x 50,000", png(50_000, 50_000, zlib.compress(bytes(30_000_000))), TOO_LARGE
    yield "PNG whose pixels end too soon", png(6000, 6000, zlib.compress(bytes(1000))), BAD_IMAGE
    yield "PNG with a text of 100 MB", png(4, 4, zlib.compress(bytes(52)), text_bomb()), BAD_IMAGE
    yield "PNG with too many pixel bytes", png(4, 4, zlib.compress(bytes(90_000_000))), GOOD
    yield "WebP of 16,384 x 16,384", webp_canvas(16_383), TOO_LARGE
    yield "JPEG of 5,000 scans", many_scans(5000), BAD_IMAGE
    yield "JPEG of 65,535 x 65,535", jpeg_of(jpeg, 65_535, 65_535), TOO_LARGE
    yield "JPEG cut off", jpeg[: len(jpeg) // 2], BAD_IMAGE
    yield "PNG cut off", saved(picture, "PNG")[:60], BAD_IMAGE
    yield "three bytes", b"\xff\xd8\xff", BAD_IMAGE
    yield "EXIF that points at itself", saved(picture, "JPEG", exif=looping_exif()), GOOD
    frames = [picture.copy() for _ in range(50)]
    yield (
        "GIF of many frames",
        saved(picture, "GIF", save_all=True, append_images=frames),
        UNSUPPORTED,
    )
    yield "TIFF", saved(picture, "TIFF"), UNSUPPORTED
    yield (
        "TIFF that points at itself",
        b"II*\0" + struct.pack("<IH", 8, 0) + b"\x08\0\0\0",
        UNSUPPORTED,
    )
    yield (
        "SVG",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///"/></svg>',
        UNSUPPORTED,
    )
    yield "ZIP", b"PK\x03\x04" + bytes(60), UNSUPPORTED
    yield "GIF that begins like a JPEG", b"\xff\xd8\xff" + gif, BAD_IMAGE
    yield "PNG that is a JPEG inside", b"\x89PNG\r\n\x1a\n" + jpeg, BAD_IMAGE
    yield "JPEG with a ZIP behind it", jpeg + b"PK\x03\x04" + bytes(60), GOOD
    yield "nothing but zeros", bytes(1000), UNSUPPORTED


def texts() -> Iterator[Bad]:
    """Bodies that are no request."""
    bad_json = {(400, "bad_json")}
    deep = 100_000
    yield Bad("empty", b"", bad_json)
    yield Bad("not UTF-8", b'{"request_id": "\xff\xfe"}', bad_json)
    yield Bad("a list", b"[]", bad_json)
    yield Bad("null", b"null", bad_json)
    yield Bad("NaN", b"NaN", bad_json)
    yield Bad("deep lists", b"[" * deep + b"]" * deep, bad_json)
    yield Bad("deep objects", b'{"a":' * deep + b"1" + b"}" * deep, bad_json)
    yield Bad("an endless number", b'{"max_faces": ' + b"9" * 100_000 + b"}", bad_json)
    good = base64.b64encode(saved(Image.new("RGB", (40, 30)), "PNG"))
    twice = b'{"request_id": "a", "request_id": "bad", "content": "%s"}' % good
    yield Bad("a key twice: the last one counts", twice, GOOD)
    for value in (b"NaN", b"Infinity", b"1e400", b"-1", b"true", b'"1"', b"1.5", b"9" * 400):
        body = b'{"request_id": "bad", "content": "%s", "max_faces": %s}' % (good, value)
        yield Bad(f"max_faces {value[:9].decode()}", body, {(400, "bad_max_faces")})
    yield Bad(
        "detail NaN",
        b'{"request_id": "bad", "content": "%s", "detail": NaN}' % good,
        {(400, "bad_detail")},
    )
    yield Bad("a filename of 10 kB", request(b"x", filename="f" * 10_000), {(400, "bad_filename")})


def identifiers() -> Iterator[Bad]:
    """Request ids that would break a log, or a reader."""
    refused = {(400, "bad_request_id")}
    forged = '\n{"level": "INFO", "stage": "recognition", "request_id": "forged"}\n'
    for name, value in (
        ("a newline", "a\nb"), ("a forged log line", forged), ("10 kB", "r" * 10_000),
        ("a terminal's command", "\x1b[2J"), ("a null", "a\0b"), ("half a character", "\ud800"),
        ("right to left", "\u202e"), ("nothing", ""), ("a number", 7), ("a list", ["a"]),
        ("null", None),
    ):  # fmt: skip
        yield Bad(f"request_id: {name}", request(b"x", request_id=value), refused)


def encodings() -> Iterator[Bad]:
    """Content that is no base64, or more of it than is taken."""
    refused = {(400, "bad_content")}
    for name, content in (
        ("padding in the middle", "QUJD=QUJD"),
        ("padding alone", "===="), ("a character short", "QUJDR"), ("newlines", "QUJD\nQUJD"),
        ("spaces", " QUJD"), ("of URLs", "-_-_"), ("not ASCII", "QUJDé==="), ("a null", "QUJD\0"),
        ("nothing", ""),
    ):  # fmt: skip
        body = json.dumps({"content": content, "request_id": "bad", "filename": "f"}).encode()
        yield Bad(f"base64: {name}", body, refused)
    # Bits that no byte needs: decoders differ, and nothing follows from them here.
    body = json.dumps({"content": "QUJ=", "request_id": "bad"}).encode()
    yield Bad("base64: stray bits", body, UNSUPPORTED)
    # Python 3.10 refuses what later ones read as three bytes.
    body = json.dumps({"content": "QUJD====", "request_id": "bad"}).encode()
    yield Bad("base64: too much padding", body, refused | UNSUPPORTED)
    noise = zlib.compress(bytes(range(256)) * 10, 0)
    large = (noise * (5_900_000 // 4 * 3 // len(noise)))[: 5_900_000 // 4 * 3]
    yield Bad("6 MB of no image", request(large), UNSUPPORTED)


def png(width: int, height: int, pixels: bytes, *chunks: bytes) -> bytes:
    """A PNG by hand: what its header promises need not be there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    )


def chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def text_bomb() -> bytes:
    return chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))


def webp_canvas(side: int) -> bytes:
    """An animated WebP of 1 x 1 frames on a canvas of (side + 1)^2 pixels."""
    frame = saved(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    size = struct.pack("<I", side)[:3]
    anmf = b"ANMF" + struct.pack("<I", 16 + len(frame)) + bytes(12) + b"\x64\0\0\0" + frame
    body = (
        b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + size
        + b"ANIM" + struct.pack("<I", 6) + bytes(6) + anmf * 3
    )  # fmt: skip
    return b"RIFF" + struct.pack("<I", len(body)) + body


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = saved(Image.new("RGB", (2000, 2000), (9, 9, 9)), "JPEG", progressive=True, quality=50)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def jpeg_of(jpeg: bytes, width: int, height: int) -> bytes:
    """The same file with another size in its header."""
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]


def looping_exif() -> bytes:
    """A directory whose sub-directory, and whose successor, is itself."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
