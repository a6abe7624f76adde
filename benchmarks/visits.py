"""Wrong and missed names per frame against per visit, on clips as they are and degraded.

Run with `python benchmarks/visits.py --samples FOLDER`. The folder has `people/enrolled`
and `people/unseen` (one folder of photographs per person), `videos` and videos of people
who are not enrolled. The model is the installed one; it needs trained weights.

Clips of enrolled people are made of their unseen photographs. A frame of theirs is missed
without their name and wrong with another one; a clip is missed if no visit has the name. In
the other clips every name is wrong. A visit is wrong if any of its events had a wrong name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from visits_answers import VARIANTS, BenchClip, Pipeline, answers, of_photographs, video

from facectl.models import store
from facectl.visits.models import SeenFace, SeenFrame, VisitEvent
from facectl.visits.tracker import VisitOptions, VisitTracker
from lambda_src.contract import FrameResult

# The default threshold of a gallery.
THRESHOLD = 1.0


def frames_of(recorded: list[dict[str, Any]], *, sharp: bool) -> list[SeenFrame]:
    """The recorded answers as frames, with or without the sharpness of their faces."""
    frames = []
    for each in recorded:
        answer = FrameResult.parse(json.dumps(each["answer"]))
        faces = tuple(
            SeenFace.of(face, sharpness if sharp else None)
            for face, sharpness in zip(answer.faces or (), each["sharpness"], strict=True)
        )
        frames.append(SeenFrame(each["index"], each["name"], each["timestamp"], faces))
    return frames


def visits_of(frames: list[SeenFrame], options: VisitOptions) -> list[list[VisitEvent]]:
    """The events of a clip, by visit."""
    tracker = VisitTracker("benchmark", "clip", options)
    events = [event for frame in frames for event in tracker.see(frame)]
    found: dict[str, list[VisitEvent]] = {}
    for event in [*events, *tracker.close("finished")]:
        found.setdefault(event.visit, []).append(event)
    # A visit that was merged into another is a part of it.
    return [events for events in found.values() if events[-1].reason != "merged"]


def counted(clip: BenchClip, frames: list[SeenFrame], options: VisitOptions) -> Counter[str]:
    """The frames, faces and visits of a clip, and how many are wrong or missed."""
    count: Counter[str] = Counter(clips=1, frames=len(frames))
    for frame in frames:
        names = {face.name for face in frame.faces} - {None}
        count["faces"] += len(frame.faces)
        count["wrong faces"] += sum(face.name not in {None, clip.person} for face in frame.faces)
        count["wrong frames"] += bool(names - {clip.person})
        count["missed frames"] += clip.person is not None and clip.person not in names
    visits = visits_of(frames, options)
    people = [{event.person for event in events} - {None, clip.person} for events in visits]
    count["visits"] = len(visits)
    count["wrong visits"] = sum(map(bool, people))
    final = [events[-1].person for events in visits]
    count["wrong at end"] = sum(person not in {None, clip.person} for person in final)
    count["missed clips"] = clip.person is not None and clip.person not in final
    count["unknown visits"] = final.count(None)
    return count


def clips_of(samples: Path) -> list[BenchClip]:
    """The clips of enrolled people, then those of others."""
    people = sorted(path for path in (samples / "people" / "unseen").iterdir() if path.is_dir())
    videos = [*sorted((samples / "videos").glob("*.mp4")), *sorted(samples.glob("*.mp4"))]
    return [*map(of_photographs, people), *map(video, videos)]


def main() -> None:
    """Measure, print two tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=Path("../shared/samples"))
    parser.add_argument("--answers", type=Path, default=Path("build/visits-answers"))
    parser.add_argument("--json", type=Path, default=Path("build/bench-visits.json"))
    parser.add_argument("--without-sharpness", action="store_true")
    parser.add_argument("--frames", type=int, default=VisitOptions().frames)
    arguments = parser.parse_args()
    model = store.find()
    if model.synthetic:
        parser.error("the installed model has synthetic weights: its names mean nothing")
    pipeline = cache(lambda: Pipeline(model, arguments.samples / "people/enrolled", THRESHOLD))
    enrolled = sorted((arguments.samples / "people/enrolled").rglob("*.jpg"))
    photos = hashlib.sha256(b"".join(file.read_bytes() for file in enrolled)).hexdigest()
    key = f"{model.space} {THRESHOLD} {photos}"
    options = VisitOptions(frames=arguments.frames)
    results: dict[str, dict[str, Counter[str]]] = {}
    for variant in VARIANTS:
        sums = results.setdefault(variant, {"enrolled": Counter(), "strangers": Counter()})
        for clip in clips_of(arguments.samples):
            recorded = answers(pipeline, clip, variant, arguments.answers, key)
            frames = frames_of(recorded, sharp=not arguments.without_sharpness)
            sums["strangers" if clip.person is None else "enrolled"] += counted(
                clip, frames, options
            )
    _print_tables(results)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"model": model.path.name, "threshold": THRESHOLD, "frames": options.frames}
    arguments.json.write_text(json.dumps({**machine, "results": results}, indent=2))


def _print_tables(results: dict[str, dict[str, Counter[str]]]) -> None:
    print("people who are enrolled")
    print("| clips | frames | missed | wrong | clips missed | visits wrong | visits unknown |")
    print("|---|---|---|---|---|---|---|")
    for variant, by_kind in results.items():
        c = by_kind["enrolled"]
        print(
            f"| {variant} | {c['frames']} | {_share(c['missed frames'], c['frames'])} "
            f"| {_share(c['wrong frames'], c['frames'])} "
            f"| {c['missed clips']} of {c['clips']} | {c['wrong visits']} of {c['visits']} "
            f"| {c['unknown visits']} |"
        )
    print("\npeople who are not enrolled")
    print("| clips | faces | wrong | visits | visits wrong | wrong at the end |")
    print("|---|---|---|---|---|---|")
    for variant, by_kind in results.items():
        c = by_kind["strangers"]
        print(
            f"| {variant} | {c['faces']} | {_share(c['wrong faces'], c['faces'])} | {c['visits']} "
            f"| {c['wrong visits']} | {c['wrong at end']} |"
        )


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else "-"


if __name__ == "__main__":
    main()
