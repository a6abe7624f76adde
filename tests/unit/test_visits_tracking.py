"""Faces are followed from frame to frame, and a visit is named by several frames that agree."""

from __future__ import annotations

import itertools
import random

import pytest

from facectl.visits.identity import Votes
from facectl.visits.models import SeenFace, SeenFrame, VisitEvent
from facectl.visits.tracker import VisitOptions, VisitTracker

FPS = 10


def face(x: float, name: str | None = None, *, side: float = 100.0, y: float = 100.0) -> SeenFace:
    return SeenFace((x, y, x + side, y + side), 1.0, name)


def frame(index: int, *faces: SeenFace, at: float | None = None) -> SeenFrame:
    return SeenFrame(index, f"f{index}", index / FPS if at is None else at, faces)


def run(frames: list[SeenFrame], options: VisitOptions | None = None) -> list[VisitEvent]:
    tracker = VisitTracker("run", "clip", options or VisitOptions())
    return [e for each in frames for e in tracker.see(each)] + tracker.close("finished")


def story(events: list[VisitEvent]) -> list[tuple[str, str | None]]:
    return [(event.event, event.person) for event in events]


def ends(events: list[VisitEvent]) -> list[tuple[str | None, int, str | None]]:
    return [(e.person, e.frames, e.reason) for e in events if e.event == "end"]


def test_a_person_who_walks_through_the_picture_is_one_visit() -> None:
    events = run([frame(i, face(10.0 * i, "Ann")) for i in range(30)])
    assert story(events) == [("start", "Ann"), ("end", "Ann")]
    end = events[-1]
    assert (end.frames, end.agreeing, end.score) == (30, 30, 1.0)
    assert (end.first, end.last) == (0.0, 2.9)
    assert {event.visit for event in events} == {"run-000000-0"}


def test_one_wrong_frame_names_nobody() -> None:
    frames = [frame(i, face(0, "Ann" if i == 5 else None)) for i in range(20)]
    assert story(run(frames)) == [("start", None), ("end", None)]


def test_frames_of_one_moment_count_as_one_observation() -> None:
    # At 100 frames a second, 20 frames in a row are still a fifth of a second.
    frames = [frame(i, face(0, "Ann" if i < 20 else None), at=i / 100) for i in range(200)]
    assert {event.person for event in run(frames)} == {None}


def test_a_name_that_most_frames_do_not_confirm_is_not_given() -> None:
    frames = [frame(i, face(0, "Ann" if i % 5 == 0 else None)) for i in range(40)]
    assert {event.person for event in run(frames)} == {None}


def test_small_and_blurred_faces_count_less() -> None:
    clear = SeenFace((0, 0, 100, 100), 1.0, "Ann", sharpness=200.0)
    assert clear.weight == 1.0
    assert SeenFace((0, 0, 40, 100), 1.0, "Ann", sharpness=200.0).weight == 0.5
    assert SeenFace((0, 0, 100, 100), 1.0, "Ann", sharpness=10.0).weight == pytest.approx(0.1)
    assert SeenFace((0, 0, 100, 100), 0.5, "Ann").weight == 0.5
    # A box without an area counts, but hardly.
    assert 0 < SeenFace((5, 5, 5, 5), 1.0).weight <= 0.05


def test_three_clear_frames_outweigh_four_blurred_ones() -> None:
    votes = Votes()
    for at in range(4):
        votes.add(SeenFace((0, 0, 100, 100), 1.0, "Bob", sharpness=10.0), float(at))
    for at in range(3):
        votes.add(SeenFace((0, 0, 100, 100), 1.0, "Ann", sharpness=200.0), float(at))
    decision = votes.decide(3)
    assert (decision.person, decision.agreeing) == ("Ann", 3)
    assert decision.score == pytest.approx(3 / 3.4)


def test_a_change_of_the_decision_is_an_update() -> None:
    names = [None] * 10 + ["Ann"] * 40
    events = run([frame(i, face(0, name)) for i, name in enumerate(names)])
    assert story(events) == [("start", None), ("update", "Ann"), ("end", "Ann")]


def test_a_name_is_taken_back_when_later_frames_contradict_it() -> None:
    names = ["Ann"] * 8 + [None] * 60
    events = run([frame(i, face(0, name)) for i, name in enumerate(names)])
    assert story(events) == [("start", "Ann"), ("update", None), ("end", None)]


def test_a_visit_whose_name_is_not_settled_is_announced_after_a_while() -> None:
    # Two frames of the four have the name: it leads, and is not decided.
    names = ["Ann", "Ann", None, None]
    events = run([frame(i, face(0, name), at=i / 100) for i, name in enumerate(names)])
    # It ends before: the start is reported all the same.
    assert story(events) == [("start", None), ("end", None)]


def test_the_best_face_of_a_person_is_one_with_their_name() -> None:
    """A stranger takes the person's place for a moment, and is nearer to the camera."""
    ann = [frame(i, face(0, "Ann", side=40)) for i in range(12)]
    stranger = [frame(i, face(0, None, side=60)) for i in range(12, 15)]
    (end,) = [event for event in run([*ann, *stranger]) if event.event == "end"]
    assert (end.person, end.frames) == ("Ann", 15)
    assert end.best.frame < 12


def test_a_false_detection_is_no_visit() -> None:
    tracker = VisitTracker("run", "clip", VisitOptions())
    assert tracker.see(frame(0, face(0))) == []
    assert tracker.see(frame(1, face(0))) == []
    assert tracker.close("finished") == []
    assert tracker.too_short == 1


def test_a_visit_ends_after_the_gap_and_not_before() -> None:
    def twice(away: float) -> list[VisitEvent]:
        first = [frame(i, face(0, "Ann")) for i in range(10)]
        again = [frame(10 + i, face(0, "Ann"), at=0.9 + away + i / FPS) for i in range(10)]
        return run([*first, *again], VisitOptions(gap=10))

    assert ends(twice(10.0)) == [("Ann", 20, "finished")]
    assert ends(twice(10.1)) == [("Ann", 10, "left"), ("Ann", 10, "finished")]


def test_frames_without_faces_end_a_visit() -> None:
    frames = [frame(i, face(0, "Ann")) for i in range(10)]
    tracker = VisitTracker("run", "clip", VisitOptions(gap=2))
    for each in frames:
        tracker.see(each)
    assert tracker.see(frame(25)) == []
    [end] = tracker.see(frame(30))
    assert (end.reason, end.last, end.frames) == ("left", 0.9, 10)


@pytest.mark.parametrize("named", [True, False])
def test_two_people_who_cross_stay_two(named: bool) -> None:
    # They pass each other at the same height, 20 pixels apart at the closest.
    frames = []
    for i in range(41):
        ann = face(20.0 * i, "Ann" if named else None, y=100)
        bob = face(800 - 20.0 * i, "Bob" if named else None, y=120)
        frames.append(frame(i, *sorted((ann, bob), key=lambda f: f.box[0])))
    events = run(frames)
    visits = {e.visit: e for e in events if e.event == "end"}
    assert len(visits) == 2
    assert [e.frames for e in visits.values()] == [41, 41]
    if named:
        assert {(e.person, e.agreeing) for e in visits.values()} == {("Ann", 41), ("Bob", 41)}
    else:
        # Each arrives at the side to which it walked.
        tracks = sorted((e.track[0][1][0], e.track[-1][1][0]) for e in visits.values())
        assert tracks == [(0.0, 800.0), (800.0, 0.0)]


def test_a_known_face_that_jumps_is_the_same_visit_and_a_stranger_is_not() -> None:
    def jumping(name: str | None) -> list[VisitEvent]:
        return run([frame(i, face(0 if i < 10 else 900, name)) for i in range(20)])

    assert ends(jumping("Ann")) == [("Ann", 20, "finished")]
    assert ends(jumping(None)) == [(None, 10, "finished"), (None, 10, "finished")]


def test_another_person_in_the_same_place_after_a_cut_is_another_visit() -> None:
    # Two faces of different size: the boxes hardly overlap.
    frames = [frame(i, face(0, "Ann")) for i in range(10)]
    frames += [frame(10 + i, face(70, "Bob", side=300)) for i in range(10)]
    assert ends(run(frames)) == [("Ann", 10, "finished"), ("Bob", 10, "finished")]


def test_a_part_of_a_visit_is_merged_when_its_name_is_decided() -> None:
    ann = [frame(i, face(0, "Ann")) for i in range(10)]
    turned = [frame(10 + i, face(900)) for i in range(5)]
    again = [frame(15 + i, face(900, "Ann")) for i in range(10)]
    events = run([*ann, *turned, *again])
    # The names of the jumped face lead back to the first visit.
    assert story(events)[0] == ("start", "Ann")
    finished = [e for e in events if e.reason == "finished"]
    assert next((e.visit, e.person) for e in finished) == ("run-000000-0", "Ann")
    assert sum(e.person == "Ann" for e in finished) == 1


def test_interleaved_parts_of_one_person_are_merged_and_two_people_in_one_frame_are_not() -> None:
    # The face alternates between two places, so that its name is decided in both.
    apart = [frame(i, face(0 if i % 4 < 2 else 900, "Ann" if i > 8 else None)) for i in range(40)]
    merged = run(apart)
    assert [e.person for e in merged if e.reason == "finished"] == ["Ann"]
    [part] = [e for e in merged if e.reason == "merged"]
    assert part.into == "run-000000-0"
    assert part.visit != part.into
    together = run([frame(i, face(0, "Ann"), face(900, "Ann")) for i in range(20)])
    assert ends(together) == [("Ann", 20, "finished")] * 2


def test_one_frame_is_enough_where_one_is_asked_for() -> None:
    events = run([frame(0, face(0, "Ann"))], VisitOptions(frames=1))
    assert story(events) == [("start", "Ann"), ("end", "Ann")]


def test_fifty_faces_in_a_frame_are_fifty_visits() -> None:
    rows = [(x, y) for x in range(10) for y in range(5)]
    frames = [
        frame(i, *(face(200.0 * x + i, f"p{x}-{y}", y=200.0 * y) for x, y in rows))
        for i in range(20)
    ]
    events = run(frames)
    assert len(events) == 100
    assert {(e.person, e.frames) for e in events if e.event == "end"} == {
        (f"p{x}-{y}", 20) for x, y in rows
    }


def test_a_day_in_one_place_needs_no_more_memory_than_a_minute() -> None:
    tracker = VisitTracker("run", "clip", VisitOptions())
    for i in range(20_000):
        passing = [face(900, f"p{i // 50}")] if i % 50 < 10 else []
        tracker.see(frame(i, face(0, "Ann"), *passing))
    [ann] = [event for event in tracker.close("finished") if event.person == "Ann"]
    assert ann.frames == 20_000
    assert len(ann.track) <= 65
    # The track covers the whole time, evenly.
    times = [at for at, _ in ann.track]
    assert times == sorted(times)
    assert max(b - a for a, b in itertools.pairwise(times)) <= 2000 / 20


def test_any_frames_give_events_that_fit_together() -> None:
    """Each visit starts once and ends once, and nothing comes before or after."""
    chance = random.Random(7)
    names = [None, None, "Ann", "Bob", "Cy"]
    for _ in range(50):
        at = 0.0
        frames = []
        for i in range(60):
            at += chance.choice([0.04, 0.04, 0.5, 3.0, 12.0])
            faces = [
                face(chance.uniform(-50, 600), chance.choice(names), side=chance.uniform(0, 200))
                for _ in range(chance.randrange(4))
            ]
            frames.append(frame(i, *faces, at=at))
        by_visit: dict[str, list[VisitEvent]] = {}
        for event in run(frames):
            by_visit.setdefault(event.visit, []).append(event)
        for events in by_visit.values():
            kinds = [event.event for event in events]
            assert kinds[0] == "start"
            assert kinds[-1] == "end"
            assert set(kinds[1:-1]) <= {"update"}
            assert len({event.key for event in events}) == len(events)
            assert all(0 <= event.score <= 1 for event in events)
            assert all(event.first <= event.last for event in events)


def test_a_name_leads_that_another_one_contradicts() -> None:
    """Three in five of the named frames decide; a decided name stays while it leads."""
    votes = Votes()
    for at, name in enumerate(["Zoe"] * 5 + ["Bob"] * 4):
        votes.add(face(0, name), float(at))
    assert votes.decide(3).person is None
    kept = votes.decide(3, "Zoe")
    assert (kept.person, kept.agreeing, kept.score) == ("Zoe", 5, pytest.approx(5 / 9))
    for at in (9, 10):
        votes.add(face(0, "Bob"), float(at))
    assert votes.decide(3, "Zoe").person is None


def test_an_undecided_visit_has_the_share_of_the_frames_that_say_nobody() -> None:
    votes = Votes()
    for at, name in enumerate(["Ann", "Ann", None]):
        votes.add(face(0, name), float(at))
    undecided = votes.decide(3)
    assert (undecided.person, undecided.settled) == (None, False)
    assert (undecided.score, undecided.agreeing) == (pytest.approx(1 / 3), 1)


@pytest.mark.parametrize(("weight", "person"), [(0.12, "Ann"), (0.08, None)])
def test_three_small_faces_are_enough_and_three_tiny_ones_are_not(
    weight: float, person: str | None
) -> None:
    votes = Votes()
    for at in range(3):
        votes.add(face(0, "Ann", side=80 * weight), float(at))
    assert votes.decide(3).person == person


def test_a_stranger_is_unknown_with_full_score() -> None:
    start, end = run([frame(i, face(0)) for i in range(6)])
    assert (start.event, start.frame, start.frames) == ("start", 2, 3)
    assert (end.person, end.score, end.agreeing) == (None, 1.0, 6)


def test_a_doubtful_name_is_announced_as_unknown_after_nine_frames_and_a_second() -> None:
    # Each frame agrees, but their faces are so bad that all of them count like one small face.
    bad = SeenFace((0, 0, 100, 100), 0.6, "Ann", sharpness=1.0)
    slow = run([frame(i, bad, at=i / 5) for i in range(30)])
    assert story(slow) == [("start", None), ("update", "Ann"), ("end", "Ann")]
    assert (slow[0].frames, slow[0].score) == (9, 0.0)
    worse = SeenFace((0, 0, 100, 100), 0.06, "Ann", sharpness=1.0)
    fast = run([frame(i, worse, at=i / 50) for i in range(60)])
    assert (fast[0].person, fast[0].frames) == (None, 51)


def test_the_best_face_is_the_largest_whenever_it_was_seen() -> None:
    sides = [40, 60, 100, 60, 40, 40]
    events = run([frame(i, face(0, "Ann", side=side)) for i, side in enumerate(sides)])
    assert events[-1].best.frame == 2
    assert events[-1].best.box == (0, 100, 100, 200)


def test_strangers_who_walk_one_behind_the_other_stay_two() -> None:
    # From a standstill to nine tenths of a face per frame: each frame shows the second one
    # nearly where the first one was.
    x, frames = 0.0, []
    for i, step in enumerate([0, 0, 0, 20, 40, 60, 75, *[90] * 12]):
        x += step
        frames.append(frame(i, face(200 + x), face(100 + x)))
    assert ends(run(frames)) == [(None, len(frames), "finished")] * 2


def test_a_stranger_who_stops_is_followed() -> None:
    places = [50.0 * i for i in range(10)] + [450.0] * 10
    assert ends(run([frame(i, face(x)) for i, x in enumerate(places)])) == [(None, 20, "finished")]


@pytest.mark.parametrize("jump", [(900.0, 100.0), (0.0, 900.0)])
def test_a_face_is_expected_where_it_jumped_to(jump: tuple[float, float]) -> None:
    """A cut of the video is no speed: the next frame, without a name, shows the same person."""
    x, y = jump
    frames = [frame(i, face(0, "Ann")) for i in range(10)]
    frames += [frame(10, face(x, "Ann", y=y)), *(frame(i, face(x, y=y)) for i in range(11, 20))]
    assert ends(run(frames)) == [("Ann", 20, "finished")]


def test_a_merged_visit_has_the_frames_the_track_and_the_best_face_of_both_parts() -> None:
    def at(i: int) -> SeenFace:
        second = i % 4 >= 2
        side = 150 if i == 15 else 100
        return face(900 if second else 0, "Ann" if i > 8 else None, side=side)

    events = run([frame(i, at(i)) for i in range(40)])
    assert len({e.visit for e in events if e.event == "start"}) == 2
    assert sum(e.event == "start" for e in events) == 2
    end = events[-1]
    assert (end.frames, end.agreeing, end.score) == (40, 31, pytest.approx(31 / 40))
    assert end.best.frame == 15
    assert [at for at, _ in end.track] == [*(i / FPS for i in range(40)), 3.9]


def test_a_merged_person_is_not_merged_with_somebody_seen_at_the_same_time() -> None:
    ann = [frame(i, face(0, "Ann")) for i in range(10)]
    # She turns away and is another visit; somebody else stands in the picture with her.
    both = [frame(i, face(900), face(2000)) for i in range(10, 14)]
    found = [frame(i, face(900, "Ann")) for i in range(14, 24)]
    # The other person is called Ann too: a mistake, but never the same visit.
    other = [frame(i, face(2000, "Ann")) for i in range(24, 34)]
    assert ends(run([*ann, *both, *found, *other])) == [
        ("Ann", 10, "merged"),
        ("Ann", 24, "finished"),
        ("Ann", 14, "finished"),
    ]
