"""The messages of the contract: valid and invalid input, and round trips."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import math

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
    salvaged_request_id,
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


def test_a_request_has_the_documented_defaults() -> None:
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
        ({"min_face_size": 11}, "bad_min_face_size"),
        ({"min_face_size": 1001}, "bad_min_face_size"),
        ({"min_face_size": 40.0}, "bad_min_face_size"),
        ({"min_face_size": True}, "bad_min_face_size"),
        ({"min_face_size": "40"}, "bad_min_face_size"),
    ],
)
def test_invalid_fields_get_400(change: dict[str, object], code: str) -> None:
    error = refused({**GOOD, **change})
    assert (error.status, error.code) == (400, code)


@pytest.mark.parametrize(
    ("field", "largest"),
    [
        ("request_id", "x" * 128),
        ("filename", "x" * 512),
        ("max_faces", 100),
        ("max_faces", 1),
        ("min_face_size", 12),
        ("min_face_size", 1000),
        ("min_face_size", None),
    ],
)
def test_the_largest_value_is_accepted(field: str, largest: object) -> None:
    request = FrameRequest.parse(json.dumps({**GOOD, field: largest}), max_image_bytes=1000)
    assert getattr(request, field) == largest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request_id": "x" * 129}, "request_id must be at most 128 printable characters"),
        ({"request_id": None}, "request_id must be text and not empty"),
        ({"filename": "x" * 513}, "filename must be text of at most 512 characters"),
        ({"max_faces": 101}, "max_faces must be a whole number from 1 to 100"),
        ({"min_face_size": 5}, "min_face_size must be a whole number from 12 to 1000"),
        ({"detail": "yes"}, "detail must be true or false"),
        ({"content": 7}, "content must be the image file's bytes in base64"),
    ],
)
def test_an_error_names_the_allowed_values(change: dict[str, object], message: str) -> None:
    error = refused({**GOOD, **change})
    assert (error.status, error.message) == (400, message)


@pytest.mark.parametrize("content", ["QUJD!", "QUJD\n", "QU-D"])
def test_characters_outside_base64_are_rejected_not_skipped(content: str) -> None:
    error = refused({**GOOD, "content": content})
    assert (error.status, error.code) == (400, "bad_content")
    assert error.message.startswith("content is not base64: ")


def test_an_error_contains_a_valid_request_id() -> None:
    error = refused({**GOOD, "content": "!"})
    assert error.body()["request_id"] == "frame-1"
    assert error.body()["error"]["code"] == "bad_content"


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"text"', b"\xff\xfe", "[" * 100_000, '{"a":' * 100_000]
)
def test_a_body_that_is_not_a_json_object_gets_400(body: str | bytes) -> None:
    assert (refused(body).status, refused(body).code) == (400, "bad_json")


def test_a_large_image_gets_413_before_decoding() -> None:
    content = base64.b64encode(bytes(1001)).decode()
    error = refused({**GOOD, "content": content}, max_image_bytes=1000)
    assert (error.status, error.code) == (413, "image_too_large")
    fits = base64.b64encode(bytes(1000)).decode()
    assert (
        len(FrameRequest.parse(json.dumps({**GOOD, "content": fits}), max_image_bytes=1000).image)
        == 1000
    )


@pytest.mark.parametrize(
    ("content", "limit", "status"),
    [
        ("=" * 2000, 1000, 413),
        ("A" * 1332 + "====", 999, 413),
    ],
)
def test_padding_does_not_make_an_image_smaller(content: str, limit: int, status: int) -> None:
    error = refused({**GOOD, "content": content}, max_image_bytes=limit)
    assert error.status == status


def test_a_plain_request_has_exactly_three_fields() -> None:
    request = FrameRequest("frame-1", "frame-1.jpg", b"image bytes")
    assert json.loads(request.serialise()) == GOOD
    asked = dataclasses.replace(request, max_faces=2, detail=True)
    assert json.loads(asked.serialise()) == {**GOOD, "max_faces": 2, "detail": True}
    coarse = dataclasses.replace(request, min_face_size=40)
    assert json.loads(coarse.serialise()) == {**GOOD, "min_face_size": 40}
    assert FrameRequest.parse(coarse.serialise(), max_image_bytes=1000) == coarse


@given(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=64),
    st.binary(min_size=1, max_size=300),
    st.integers(1, MAX_FACES),
    st.booleans(),
)
def test_a_request_is_equal_after_a_round_trip(
    name: str, image: bytes, faces: int, detail: bool
) -> None:
    request = FrameRequest(name, name, image, faces, detail)
    assert FrameRequest.parse(request.serialise(), max_image_bytes=300) == request


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_body_is_accepted_or_rejected(body: str | bytes) -> None:
    with contextlib.suppress(RequestError):
        assert len(FrameRequest.parse(body, max_image_bytes=100).image) <= 100


def test_a_face_message_is_equal_after_a_round_trip() -> None:
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
def test_an_invalid_face_message_is_rejected(body: str) -> None:
    with pytest.raises(MessageError):
        FaceMessage.parse(body)


def face_message(**changes: object) -> str:
    face = {"box": [1, 2, 3, 4], "probability": 0.5, "image": "QUJD"}
    fields = {"request_id": "r", "filename": "f", "space": "s", "detail": False, "faces": [face]}
    for name, value in changes.items():
        (face if name in face else fields)[name] = value
    return json.dumps(fields)


def test_a_face_message_without_optional_fields_has_the_defaults() -> None:
    face = CroppedFace((1.0, 2.0, 3.0, 4.0), 0.5, b"ABC")
    assert FaceMessage.parse(face_message()) == FaceMessage("r", "f", "s", (face,))
    assert FaceMessage("r", "f", "s", (face,)).detail is False
    assert FaceMessage.parse(face_message(detail=1)).detail is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"box": [1, 2, 3]}, "a box must be four numbers: x0 y0 x1 y1"),
        ({"box": [1, 2, 3, 4, 5]}, "a box must be four numbers: x0 y0 x1 y1"),
        ({"box": "1234"}, "a box must be four numbers: x0 y0 x1 y1"),
        ({"probability": True}, "a number is missing"),
        ({"probability": "0.5"}, "a number is missing"),
        ({"probability": None}, "a number is missing"),
        ({"probability": math.nan}, "a number is out of range"),
        ({"probability": math.inf}, "a number is out of range"),
        ({"probability": 10**400}, "a number is out of range"),
        ({"probability": 1e15 + 0.5}, "a number is out of range"),
        ({"probability": -1e15 - 0.5}, "a number is out of range"),
        ({"timings_ms": [1]}, "timings_ms must be an object"),
        ({"timings_ms": {"decode": "1"}}, "a number is missing"),
        ({"request_id": ""}, "request_id must be text and not empty"),
        ({"image": "QUJD!"}, ""),
        ({"faces": []}, "a message must have a face"),
    ],
)
def test_an_invalid_face_message_is_rejected_with_the_reason(
    change: dict[str, object], reason: str
) -> None:
    with pytest.raises(MessageError) as caught:
        FaceMessage.parse(face_message(**change))
    assert str(caught.value).endswith(reason)


@pytest.mark.parametrize("number", [1e15, -1e15, 0, 7])
def test_numbers_up_to_the_limit_are_accepted(number: float) -> None:
    assert FaceMessage.parse(face_message(probability=number)).faces[0].probability == number


@pytest.mark.parametrize(
    "message",
    [
        FrameRequest("r", "f", b"image"),
        CroppedFace((0, 0, 1, 1), 1.0, b"png"),
        FaceMessage("r", "f", "s", ()),
        NamedFace((0, 0, 1, 1), 1.0, "Ada", 0.1),
        FrameResult("r", "Unknown"),
    ],
)
def test_messages_are_frozen_and_have_slots(message: object) -> None:
    name = dataclasses.fields(message)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(message, name, None)
    assert not hasattr(message, "__dict__")


def test_optional_fields_have_the_documented_defaults() -> None:
    request, result = FrameRequest("r", "f", b"image"), FrameResult("r", "Unknown")
    assert (request.max_faces, request.detail) == (1, False)
    assert (result.faces, result.timings_ms) == (None, None)


def test_a_result_without_detail_has_exactly_two_fields() -> None:
    assert json.loads(FrameResult("r", "Unknown").serialise()) == {
        "request_id": "r",
        "result": "Unknown",
    }


def test_a_result_with_detail_is_equal_after_a_round_trip() -> None:
    result = FrameResult(
        "r", "Ada", (NamedFace((1.0, 2.0, 3.0, 4.0), 0.5, "Ada", 0.25),), {"embed": 2.0}
    )
    assert FrameResult.parse(result.serialise()) == result


def test_a_result_with_detail_is_rounded() -> None:
    faces = (
        NamedFace((1.23456, 2.0, 3.0, 4.0), 0.123456789, "Ada", 0.987654321),
        NamedFace((5.0, 2.0, 7.0, 4.0), 1.0, "Unknown", None),
    )
    assert json.loads(FrameResult("r", "Ada,Unknown", faces, {"embed": 2.3456}).serialise()) == {
        "request_id": "r",
        "result": "Ada,Unknown",
        "faces": [
            {
                "box": [1.23, 2.0, 3.0, 4.0],
                "probability": 0.123457,
                "name": "Ada",
                "distance": 0.987654,
            },
            {"box": [5.0, 2.0, 7.0, 4.0], "probability": 1.0, "name": "Unknown", "distance": None},
        ],
        "timings_ms": {"embed": 2.35},
    }


def test_a_result_of_an_empty_gallery_is_equal_after_a_round_trip() -> None:
    result = FrameResult("r", "Unknown", (NamedFace((1.0, 2.0, 3.0, 4.0), 0.5, "Unknown", None),))
    assert FrameResult.parse(result.serialise()) == result
    timed = FrameResult("r", "No-Face", timings_ms={"decode": 1.5})
    assert FrameResult.parse(timed.serialise()) == timed


@pytest.mark.parametrize(
    "body", ['{"request_id":1,"result":"x"}', '{"request_id":"r","result":null}']
)
def test_a_result_must_be_text(body: str) -> None:
    with pytest.raises(MessageError, match="request_id and result must be text"):
        FrameResult.parse(body)


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        ('{"request_id":"r"}', "r"),
        ('{"request_id":"r","faces":7}', "r"),
        ('{"request_id":""}', None),
        ('{"request_id":7}', None),
        ("{}", None),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_the_request_id_of_an_invalid_message(body: str, request_id: str | None) -> None:
    assert salvaged_request_id(body) == request_id


@pytest.mark.parametrize("body", ["", "{}", '{"request_id":1,"result":"x"}', "null", "[1]"])
def test_an_invalid_result_is_rejected(body: str) -> None:
    with pytest.raises(MessageError):
        FrameResult.parse(body)


def test_names_are_joined_left_to_right() -> None:
    right = NamedFace((50.0, 0, 60, 10), 1.0, "Right", 0.1)
    left = NamedFace((5.0, 0, 15, 10), 1.0, "Left", 0.1)
    assert joined_names((right, left)) == "Left,Right"
