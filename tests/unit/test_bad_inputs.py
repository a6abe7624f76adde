"""Invalid inputs: a documented answer, bounded memory and time, and nothing of them in the logs."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import Bad, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_src.contract import (
    CroppedFace,
    FaceMessage,
    FrameRequest,
    FrameResult,
    MessageError,
    RequestError,
    salvaged_request_id,
)
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import FLOAT32, INT8, Manifest, read_part, write_part
from lambda_src.settings import FunctionSettings
from lambda_src.vision.image import ImageError, decode_image

LIMITS = FunctionSettings()
# Of a 50,000 x 50,000 PNG 7.5 GB; of the largest image that is taken, 40 megapixels,
# the pixels and their copy in RGB.
MOST_MB = 400
# CPU time, independent of other processes.
MOST_SECONDS = 5.0

CODES = {
    "bad_json", "bad_request_id", "bad_filename", "bad_max_faces", "bad_detail", "bad_content",
    "bad_min_face_size",
    "image_too_large", "bad_image", "unsupported_image",
}  # fmt: skip


def answer(body: str | bytes) -> tuple[int, str | None]:
    """The answer of face-detection without a model."""
    refusal: RequestError | None = None
    try:
        request = FrameRequest.parse(body, max_image_bytes=LIMITS.max_image_bytes)
        decode_image(
            request.image, max_bytes=LIMITS.max_image_bytes, max_pixels=LIMITS.max_image_pixels
        )
    except RequestError as error:
        refusal = error
    except ImageError as error:
        return 413 if error.code == "image_too_large" else 400, error.code
    if refusal is None:
        return 200, None
    assert refusal.request_id is None or refusal.request_id.isprintable()
    assert refusal.message.isprintable()
    assert len(refusal.message) < 300
    return refusal.status, refusal.code


@pytest.mark.parametrize("bad", list(corpus()), ids=lambda bad: bad.name)
def test_the_answer_is_documented_and_fast(bad: Bad) -> None:
    began = time.thread_time()
    assert answer(bad.body) in bad.answers
    assert time.thread_time() - began < MOST_SECONDS


PROBE = """
import sys
sys.path[:0] = [{tests!r}]
from corpus import corpus
from lambda_src.contract import FrameRequest, RequestError
from lambda_src.timing import peak_memory_mb
from lambda_src.vision.image import ImageError, decode_image
bodies = list(corpus())
{reset}
before = peak_memory_mb()
for bad in bodies:
    try:
        request = FrameRequest.parse(bad.body, max_image_bytes=6_000_000)
        decode_image(request.image, max_bytes=6_000_000, max_pixels=40_000_000)
    except (RequestError, ImageError):
        pass
print(peak_memory_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_whole_corpus_needs_little_memory() -> None:
    # proc(5): writing 5 resets the peak, which the corpus has raised.
    reset = "open('/proc/self/clear_refs', 'w').write('5')"
    code = PROBE.format(tests=str(Path(__file__).parents[1]), reset=reset)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < MOST_MB


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["content", "request_id", "filename", "max_faces", "detail", "faces",
                         "min_face_size",
                         "box", "probability", "image", "space", "timings_ms", "result"])
        | st.text(max_size=5),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300) | JSON.map(json.dumps))
def test_no_request_crashes_the_parser(body: str | bytes) -> None:
    status, code = answer(body)
    assert (status == 200) == (code is None)
    assert code is None or code in CODES


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "request_id": st.text(max_size=5) | JSON,
            "content": st.text("QUJDRA=", max_size=12) | JSON,
            "max_faces": st.integers(-2, 200) | JSON,
            "min_face_size": st.integers(-2, 1200) | JSON,
            "detail": st.booleans() | JSON,
            "filename": st.text(max_size=9) | JSON,
        },
    )
)
def test_no_field_crashes_the_parser(fields: dict[str, Any]) -> None:
    test = json.dumps(fields)
    status, code = answer(test)
    assert (status == 200) == (code is None)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | JSON.map(json.dumps))
def test_no_message_crashes_a_parser(body: str) -> None:
    salvaged_request_id(body)
    with contextlib.suppress(MessageError):
        FaceMessage.parse(body)
    with contextlib.suppress(MessageError):
        FrameResult.parse(body)


GOOD_FACE = {"box": [1, 2, 3, 4], "probability": 0.9, "image": "QUJD"}
GOOD_MESSAGE = {
    "request_id": "r", "filename": "f", "space": "s", "detail": False, "faces": [GOOD_FACE],
}  # fmt: skip


@pytest.mark.parametrize(
    "face",
    [
        {"box": [1, 2, 3, 10**400]}, {"box": [1, 2, 3, float("nan")]}, {"box": [1, 2, 3, "4"]},
        {"box": [1, 2, 3]}, {"probability": float("inf")}, {"probability": 10**400},
        {"probability": "A" * 900}, {"probability": True}, {"image": "QUJ"}, {"image": 7},
    ],
)  # fmt: skip
def test_invalid_numbers_are_refused(face: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        FaceMessage.parse(json.dumps({**GOOD_MESSAGE, "faces": [{**GOOD_FACE, **face}]}))
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("distance", ["near", [1], True, float("nan"), 10**400])
def test_an_answer_with_an_invalid_distance_is_refused(distance: object) -> None:
    face = {**GOOD_FACE, "name": "Ada", "distance": distance}
    with pytest.raises(MessageError):
        FrameResult.parse(json.dumps({"request_id": "r", "result": "Ada", "faces": [face]}))


def test_a_message_of_face_detection_is_equal_after_a_round_trip() -> None:
    message = FaceMessage("r", "f", "s", (CroppedFace((1.5, 2, 3, 4), 0.9, b"x"),), True, {"a": 1})
    assert FaceMessage.parse(message.serialise()) == message


def part(encoding: str) -> bytes:
    rows = np.random.default_rng(1).standard_normal((4, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return write_part([("Ada", 1), ("Grace", 3)], rows, encoding)


PARTS = {encoding: part(encoding) for encoding in (FLOAT32, INT8)}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([FLOAT32, INT8]), st.data())
def test_no_damaged_part_is_loaded(encoding: str, draw: st.DataObject) -> None:
    data = bytearray(PARTS[encoding])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, 200))] = draw.draw(st.integers(0, 255))
    data = data[: draw.draw(st.sampled_from([len(data), len(data) - 1, 100, 16, 8, 3]))]
    try:
        found = read_part(bytes(data))
    except GalleryFormatError:
        return
    assert len(found.names) == len(found.vectors)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_manifest_crashes_the_loader(data: bytes) -> None:
    with pytest.raises(GalleryFormatError):
        Manifest.parse(data)


@pytest.mark.parametrize("field", ["request_id", "filename", "max_faces", "detail", "content"])
def test_errors_do_not_contain_the_invalid_input(field: str) -> None:
    """An image in the wrong field must not be in an error or a log."""
    noise = base64.b64encode(np.random.default_rng(3).bytes(3000)).decode()
    fields = {"request_id": "r", "filename": "f", "content": "QUJD", field: noise}
    with pytest.raises(RequestError) as caught:
        FrameRequest.parse(json.dumps(fields), max_image_bytes=2000)
    assert noise[:12] not in caught.value.message
