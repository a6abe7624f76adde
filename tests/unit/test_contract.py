"""The messages: what is accepted, what is refused and how, and that both ends agree."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_src.contract import (
    MAX_FACES,
    MAX_REQUEST_ID,
    CroppedFace,
    FaceMessage,
    FrameRequest,
    FrameResult,
    MessageError,
    NamedFace,
    RequestError,
    joined_names,
)

GOOD = {
    "content": base64.b64encode(b"image bytes").decode(),
    "request_id": "frame-1",
    "filename": "frame-1.jpg",
}


def refused(fields: object, **limits: int) -> RequestError:
    body = fields if isinstance(fields, str | bytes) else json.dumps(fields)
    with pytest.raises(RequestError) as caught:
        FrameRequest.parse(body, max_image_bytes=limits.get("max_image_bytes", 1000))
    return caught.value


def test_defaults_are_the_contracts() -> None:
    request = FrameRequest.parse(json.dumps(GOOD), max_image_bytes=1000)
    assert request == FrameRequest("frame-1", "frame-1.jpg", b"image bytes", 1, False)


def test_filename_may_be_missing() -> None:
    fields = {key: value for key, value in GOOD.items() if key != "filename"}
    assert FrameRequest.parse(json.dumps(fields), max_image_bytes=1000).filename == ""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content": None}, "bad_content"),
        ({"content": ""}, "bad_content"),
        ({"content": "not base64!"}, "bad_content"),
        ({"content": "QUJ"}, "bad_content"),
        ({"content": "QUJé"}, "bad_content"),
        ({"request_id": ""}, "bad_request_id"),
        ({"request_id": 7}, "bad_request_id"),
        ({"request_id": "two\nlines"}, "bad_request_id"),
        ({"request_id": "x" * (MAX_REQUEST_ID + 1)}, "bad_request_id"),
        ({"filename": 7}, "bad_filename"),
        ({"filename": "x" * 513}, "bad_filename"),
        ({"max_faces": 0}, "bad_max_faces"),
        ({"max_faces": MAX_FACES + 1}, "bad_max_faces"),
        ({"max_faces": 2.0}, "bad_max_faces"),
        ({"max_faces": True}, "bad_max_faces"),
        ({"detail": 1}, "bad_detail"),
    ],
)
def test_what_can_never_work_gets_400(change: dict[str, object], code: str) -> None:
    error = refused({**GOOD, **change})
    assert (error.status, error.code) == (400, code)


def test_a_refusal_carries_the_request_id_once_it_is_known() -> None:
    error = refused({**GOOD, "content": "!"})
    assert error.body()["request_id"] == "frame-1"
    assert error.body()["error"]["code"] == "bad_content"


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"text"', b"\xff\xfe", "[" * 100_000, '{"a":' * 100_000]
)
def test_a_body_that_is_no_json_object_gets_400(body: str | bytes) -> None:
    assert (refused(body).status, refused(body).code) == (400, "bad_json")


def test_too_large_is_413_and_known_before_decoding() -> None:
    content = base64.b64encode(bytes(1001)).decode()
    error = refused({**GOOD, "content": content}, max_image_bytes=1000)
    assert (error.status, error.code) == (413, "image_too_large")
    fits = base64.b64encode(bytes(1000)).decode()
    assert (
        len(FrameRequest.parse(json.dumps({**GOOD, "content": fits}), max_image_bytes=1000).image)
        == 1000
    )


@given(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=64),
    st.binary(min_size=1, max_size=300),
    st.integers(1, MAX_FACES),
    st.booleans(),
)
def test_request_survives_the_wire(name: str, image: bytes, faces: int, detail: bool) -> None:
    request = FrameRequest(name, name, image, faces, detail)
    assert FrameRequest.parse(request.serialise(), max_image_bytes=300) == request


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_body_is_accepted_or_refused(body: str | bytes) -> None:
    with contextlib.suppress(RequestError):
        assert len(FrameRequest.parse(body, max_image_bytes=100).image) <= 100


def test_face_message_survives_the_wire() -> None:
    message = FaceMessage(
        "r",
        "f.jpg",
        "abc/facenet",
        (CroppedFace((1.5, 2, 3, 4), 0.99, b"png"),),
        detail=True,
        timings_ms={"decode": 1.5},
    )
    assert FaceMessage.parse(message.serialise()) == message


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"request_id":"r","filename":"f","space":"s","detail":false,"faces":[]}',
        '{"request_id":"r","filename":"f","space":"s","detail":false,"faces":[{}]}',
        '{"request_id":"r","filename":"f","space":"s","faces":[{"box":[1,2,3]}]}',
        "[" * 100_000,
    ],
)
def test_a_foreign_message_is_refused(body: str) -> None:
    with pytest.raises(MessageError):
        FaceMessage.parse(body)


def test_a_plain_answer_has_exactly_two_fields() -> None:
    assert json.loads(FrameResult("r", "Unknown").serialise()) == {
        "request_id": "r",
        "result": "Unknown",
    }


def test_a_detailed_answer_survives_the_wire() -> None:
    result = FrameResult(
        "r", "Ada", (NamedFace((1.0, 2.0, 3.0, 4.0), 0.5, "Ada", 0.25),), {"embed": 2.0}
    )
    assert FrameResult.parse(result.serialise()) == result


@pytest.mark.parametrize("body", ["", "{}", '{"request_id":1,"result":"x"}', "null", "[1]"])
def test_a_foreign_answer_is_refused(body: str) -> None:
    with pytest.raises(MessageError):
        FrameResult.parse(body)


def test_names_are_joined_left_to_right() -> None:
    right = NamedFace((50.0, 0, 60, 10), 1.0, "Right", 0.1)
    left = NamedFace((5.0, 0, 15, 10), 1.0, "Left", 0.1)
    assert joined_names((right, left)) == "Left,Right"
