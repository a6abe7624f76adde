"""Which face of a frame belongs to which open visit: by overlap, distance, size and name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from facectl.visits.following import assigned
from facectl.visits.models import SeenFace
from lambda_src.contract import Box


@dataclass
class Open:
    """An open visit that was last seen at second 0, and is expected in the same place."""

    box: Box
    person: str | None = None
    last: float = 0.0

    def expected_box(self, _timestamp: float) -> Box:
        return self.box


def square(x: float, y: float = 500.0, side: float = 100.0) -> Box:
    return x, y, x + side, y + side


def face(box: Box, name: str | None = None) -> SeenFace:
    return SeenFace(box, 1.0, name)


def follows(visit: Open, other: SeenFace, seconds: float) -> bool:
    return assigned([visit], [other], seconds) == [0]


# A box of 100 by 64 pixels counts as one of 80 by 80.
WIDE = (200.0, 700.0, 300.0, 764.0)


def moved(box: Box, across: float, down: float) -> Box:
    x0, y0, x1, y1 = box
    return x0 + across, y0 + down, x1 + across, y1 + down


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1), (0.6, -0.8)])
@pytest.mark.parametrize(("seconds", "sides"), [(0.1, 0.75), (1.0, 1.5), (1.9, 2.0)])
def test_a_stranger_is_followed_within_reach(
    direction: tuple[float, float], seconds: float, sides: float
) -> None:
    across, down = direction
    for share, expected in ((0.97, True), (1.03, False)):
        way = share * sides * 80
        now = face(moved(WIDE, across * way, down * way))
        assert follows(Open(WIDE), now, seconds) == expected, share


def test_after_a_moment_a_stranger_nearby_is_another_one() -> None:
    here = Open(square(0))
    assert follows(here, face(square(90)), 2.0)
    assert not follows(here, face(square(90)), 2.1)
    # The boxes overlap a little.
    assert not follows(here, face(square(80)), 2.1)
    # In the same place it can only be the same one.
    assert follows(here, face(square(20)), 5.0)


@pytest.mark.parametrize(("side", "expected"), [(62, False), (64, True), (158, True), (162, False)])
def test_a_face_of_another_size_is_another_one(side: float, expected: bool) -> None:
    # Its center is 150 pixels to the right, so the boxes do not overlap.
    now = square(200 - side / 2, 550 - side / 2, side)
    assert follows(Open(square(0)), face(now), 1.9) == expected


def test_a_wrong_name_in_one_frame_does_not_end_a_visit() -> None:
    ann = Open(square(0), "Ann")
    assert follows(ann, face(square(40), "Bob"), 0.1)
    assert follows(ann, face(square(40), "Bob"), 2.0)
    # After a moment somebody else may stand there, and somebody else is not near: he is another.
    assert not follows(ann, face(square(40), "Bob"), 2.1)
    assert not follows(ann, face(square(70), "Bob"), 0.1)


def test_a_name_is_followed_anywhere_and_a_stranger_gets_one_nearby() -> None:
    assert follows(Open(square(0), "Ann"), face(square(2000), "Ann"), 9.0)
    assert not follows(Open(square(0), "Ann"), face(square(2000)), 0.1)
    assert not follows(Open(square(0)), face(square(2000), "Ann"), 0.1)
    assert follows(Open(square(0)), face(square(70), "Ann"), 0.1)
    assert follows(Open(square(0), "Ann"), face(square(70)), 0.1)


def test_the_name_decides_between_two_faces_nearby() -> None:
    ann = Open(square(0), "Ann")
    for faces in ([face(square(60)), face(square(-70), "Ann")], [face(square(-70), "Ann")]):
        assert assigned([ann], faces, 0.1)[-1] == 0
    # And between two that overlap, one of them more.
    assert assigned([ann], [face(square(5)), face(square(-30), "Ann")], 0.1) == [None, 0]


def test_the_place_decides_before_the_name_alone() -> None:
    away, here = Open(square(2000), "Ann"), Open(square(0))
    assert assigned([away, here], [face(square(45), "Ann")], 0.1) == [1]
    assert assigned([away, Open(square(0), "Bob")], [face(square(45), "Ann")], 0.1) == [1]
    # Nobody is there.
    assert assigned([away, here], [face(square(300), "Ann")], 0.1) == [0]


def test_each_visit_has_one_face_and_each_face_one_visit() -> None:
    visits = [Open(square(0)), Open(square(30))]
    assert assigned(visits, [face(square(0)), face(square(30)), face(square(15))], 0.1) == [
        0,
        1,
        None,
    ]
    assert assigned(visits, [face(square(29))], 0.1) == [1]
    assert assigned(visits, [], 0.1) == []
    assert assigned([], [face(square(0))], 0.1) == [None]


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (9, 5, 5, 9), (0, 0, 0, 100)])
def test_boxes_without_an_area_are_nobodys(box: Box) -> None:
    assert not follows(Open(box), face(moved(box, 50, 0)), 0.1)
    assert not follows(Open(box), face(square(0, 0)), 0.1)
    assert not follows(Open(square(0, 0)), face(box), 0.1)
