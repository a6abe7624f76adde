"""With learned weights every frame of the demo's clip gets the right answer."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from driver import TEST_CACHE, casia_webface, isolate

from facectl.demo import clip, people
from facectl.gallery import enrollment
from facectl.gallery.enrollment import EnrollmentTask
from facectl.gallery.store import Store
from facectl.models import builder
from lambda_src.contract import NO_FACE
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import Model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    casia_webface()
    home = tmp_path_factory.mktemp("learned")
    (home / "cache").symlink_to(TEST_CACHE / "cache")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, home)
        return builder.ensure("casia-webface")


def test_every_frame_is_answered_rightly(model: Model, tmp_path: Path) -> None:
    files = people.write_enrolled(tmp_path)
    enrollment.ensure("demo", model, [EnrollmentTask(*item) for item in files.items()])
    with closing(Store.open("demo")) as store:
        gallery = store.gallery()
    detector, embedder = Detector(model, threads=1), Embedder(model, threads=1)
    answers = []
    for frame in clip.frames():
        faces = sorted(detector.detect(frame), key=lambda face: face.box[0])
        crops = [crop_face(frame, face, model.preprocessing) for face in faces]
        sent = encode_crops(crops, model.preprocessing, max_total_bytes=1_000_000)
        probes = [decode_crop(crop, model.preprocessing) for crop in sent]
        matches = gallery.match(embedder.embed(probes)) if probes else []
        answers.append(",".join(match.name for match in matches) or NO_FACE)
    assert Counter(zip(answers, clip.expected(), strict=True)) == Counter(
        (answer, answer) for answer in clip.expected()
    )
