"""benchmarks/accuracy.py: generated strangers, trials on known faces, and the written page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accuracy
import accuracy_page as page
import accuracy_strangers
import accuracy_trials as trials
from accuracy_faces import Faces
from accuracy_strangers import NEAREST, Strangers, nearest_strangers

from facectl.errors import InputError, ModelError
from facectl.gallery import metrics
from facectl.models import store
from lambda_src.vision.store import NETWORKS

SPACE = "ab" * 32 + "/facenet"


def axis(number: int, lean: float = 0.0) -> np.ndarray:
    """A unit vector along an axis, `lean` towards the next."""
    vector = np.zeros(512, np.float32)
    vector[number], vector[number + 1] = 1, lean
    return vector / np.linalg.norm(vector)


def crowd(people: int, photographs: int) -> Faces:
    """Faces of people who look alike a little, in few of the 512 dimensions; half are labelled."""
    random = np.random.default_rng(0)
    faces = 0.3 + random.standard_normal((people, 40))
    rows = np.zeros((people * photographs, 512))
    rows[:, :40] = np.repeat(faces, photographs, axis=0)
    rows[:, :40] += 0.5 * random.standard_normal((len(rows), 40))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = np.repeat([f"p{n:02}" for n in range(people)], photographs)
    labelled = np.arange(len(rows)) < len(rows) // 2
    return Faces(rows.astype(np.float32), names, labelled, len(rows), 0)


@pytest.fixture(scope="module")
def strangers() -> Strangers:
    faces = crowd(16, 8)
    return Strangers.like(faces.embeddings, faces.people)


def test_generated_strangers_resemble_real_ones(strangers: Strangers) -> None:
    faces = crowd(16, 8)
    found = accuracy._resemblance(faces, strangers, strangers.sample(2000, 1))["rows"]
    real, generated = found["labelled, other people"], found["labelled, generated"]
    assert generated["deviation"] == pytest.approx(real["deviation"], rel=0.1)
    assert generated["mean"] == pytest.approx(real["mean"], abs=0.05)
    between = found["generated, generated"]
    assert between["deviation"] == pytest.approx(real["deviation"], rel=0.15)
    lengths = np.linalg.norm(strangers.sample(100, 1), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_the_memory_of_strangers_is_bounded(
    strangers: Strangers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy_strangers, "_BLOCK", 16)
    assert [len(block) for block in strangers.blocks(40, 1)] == [16, 16, 8]
    assert strangers.sample(0, 1).shape == (0, 512)


def test_a_search_in_blocks_is_the_search_of_all(
    strangers: Strangers, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = crowd(6, 4)
    monkeypatch.setattr(accuracy_strangers, "_BLOCK", 16)
    every = faces.embeddings @ strangers.sample(64, 1).T
    sizes = [0, 3, 16, 17, 40, 64]
    found = nearest_strangers(faces.embeddings, strangers, sizes, seed=1, tell=lambda _: None)
    for size in sizes:
        wanted = np.full((len(every), NEAREST), -1, np.float32)
        top = np.sort(every[:, :size], axis=1)[:, ::-1][:, :NEAREST]
        wanted[:, : top.shape[1]] = top
        np.testing.assert_allclose(found[size], wanted, atol=1e-6)


def test_a_search_is_kept_for_each_array_of_probes(
    strangers: Strangers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    search = accuracy_strangers.nearest_strangers

    def counted(probes: np.ndarray, *rest: Any, **options: Any) -> dict[int, np.ndarray]:
        searched.append(len(probes))
        return search(probes, *rest, **options)

    monkeypatch.setattr(accuracy_strangers, "nearest_strangers", counted)
    one, two = np.stack([axis(0), axis(1)]), np.stack([axis(5)])

    def kept(*probes: np.ndarray) -> list[np.ndarray]:
        generated = strangers.sample(4, 2)
        return accuracy_strangers.kept_searches(
            [*probes, generated], strangers, [3, 20], tmp_path, lambda _: None
        )

    first, both = kept(one), kept(two, one)
    assert searched == [2 + 4, 1]
    assert [found.shape for found in both] == [(2, 1, 5), (2, 2, 5), (2, 4, 5)]
    np.testing.assert_array_equal(both[1], first[0])


# Ada and Bob are labelled, Eve is a stranger who looks like Bob.
KNOWN = Faces(
    np.stack([axis(0), axis(0, 0.1), axis(0, 0.5), axis(9), axis(9, 0.3), axis(9, 0.2)]),
    np.array(["Ada", "Ada", "Ada", "Bob", "Bob", "Eve"]),
    np.array([True] * 5 + [False]),
    6,
    0,
)
NOBODY = np.empty((0, 512), np.float32)


def test_a_probe_is_never_its_own_reference() -> None:
    cosines = KNOWN.embeddings @ KNOWN.embeddings.T
    for photographs in (1, 2, trials.ALL):
        for draw in trials.draws(KNOWN, NOBODY, photographs):
            assert np.all(draw.mate < 0.9999)
            assert draw.labelled.shape == (5, 2)
            assert draw.others.shape == (1, 2)
    [every] = trials.draws(KNOWN, NOBODY, trials.ALL)
    assert every.mate[0] == pytest.approx(cosines[0, 1:3].max())
    assert every.others[0, 1] == pytest.approx(cosines[5, 3:5].max())
    assert every.own.tolist() == [0, 0, 0, 1, 1]
    assert every.without[0, 0] == -1


def test_the_references_of_one_draw_are_one_photograph_each() -> None:
    cosines = KNOWN.embeddings @ KNOWN.embeddings.T
    for draw in trials.draws(KNOWN, NOBODY, 1):
        # Ada's column is the cosine with one of her photographs, the same for everybody else.
        candidates = [row for row in range(3) if np.isclose(draw.others[0, 0], cosines[5, row])]
        assert candidates
        assert np.isclose(draw.labelled[3, 0], cosines[3, candidates]).any()


def test_searches_count_strangers_of_the_gallery() -> None:
    drawn = trials.draws(KNOWN, NOBODY, trials.ALL)
    nearest = np.full((6, NEAREST), -1, np.float32)
    nearest[2, :2] = 0.95, 0.94
    nearest[5, 0] = 0.999
    found = trials.searches(KNOWN, drawn, nearest, real=True)
    # Ada's third photograph is nearer to two strangers than to her others.
    assert found.rank.tolist() == [1, 1, 3, 1, 1]
    assert (found.mated, found.non_mated) == (5, 6)
    assert found.person.tolist() == [0, 0, 0, 1, 1]
    assert found.stranger.tolist() == [0, 0, 0, 1, 1, 2]
    assert found.nearest[2] == pytest.approx(np.sqrt(2 * (1 - 0.95)), rel=1e-3)
    assert found.nearest[5] == pytest.approx(np.sqrt(2 * (1 - 0.999)), rel=1e-3)
    # Without Bob, nobody resembles him: Ada is orthogonal.
    assert found.nearest[3] == pytest.approx(np.sqrt(2), rel=1e-3)


def test_generated_strangers_search_too_each_as_a_person() -> None:
    generated = np.stack([axis(9), axis(100)])
    drawn = trials.draws(KNOWN, generated, 1)
    nearest = np.full((8, NEAREST), -1, np.float32)
    found = trials.searches(KNOWN, drawn, nearest, real=False)
    assert found.non_mated == 2
    assert len(found.nearest) == 2 * len(drawn)
    assert sorted(set(found.stranger.tolist())) == [3, 4]
    assert found.nearest[0] < 0.4
    assert found.nearest[1] == pytest.approx(np.sqrt(2), rel=1e-3)


def test_pairs_are_of_labelled_people_with_everybody() -> None:
    found = trials.pairs(KNOWN)
    # Three pairs of Ada's photographs, one of Bob's; six between them, 5 with Eve.
    assert (len(found.genuine), len(found.impostor)) == (4, 11)
    assert sorted(found.person.tolist()) == [0, 0, 0, 1]
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == {
        (0, 1), (0, 2), (1, 2),
    }  # fmt: skip


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a small run."""
    faces = crowd(10, 4)
    subject, other = accuracy.Subject("one", faces), accuracy.Subject("two", faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_REPLICATES", 20)
        patch.setattr(accuracy, "GENERATED", 100)
        found = accuracy.measure([subject, other], [5, 30], 1.0, tmp_path_factory.mktemp("cache"))
    return found | {
        "weights": "w",
        "skipped": "facenet-pytorch was not measured: because.",
        "default": {"text": "default", "distance": 1.0},
        "course": {"people": 3, "pairs": 3, "threshold": 1.0, "within": 1, "nearest": 0.9},
    }


def test_the_page_keeps_the_text_around_the_marked_section(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "ACCURACY.md"
    file.write_text(f"before\n\n{page.BEGIN}\nearlier figures\n{page.END}\n\nafter\n")
    page.write(file, facts)
    text = file.read_text()
    assert text.startswith(f"before\n\n{page.BEGIN}\n\n### ")
    assert text.endswith(f"{page.END}\n\nafter\n")
    assert "earlier figures" not in text
    assert "n too small: 40 non-mated searches resolve FPIR 0.025 and more" in text
    assert "facenet-pytorch was not measured: because." in text
    assert "1 are within it" in text
    page.write(file, facts)
    assert file.read_text() == text


def test_the_charts_are_drawings_of_their_own(facts: dict[str, Any]) -> None:
    for drawing in page.charts(facts).values():
        assert drawing.startswith("<svg ")
        assert 'xmlns="http://www.w3.org/2000/svg"' in drawing
        assert "NaN" not in drawing


def test_every_row_of_a_table_has_the_columns_of_its_head(facts: dict[str, Any]) -> None:
    section = "\n\n".join(page._section(facts))
    for block in section.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_a_page_without_the_section_is_not_overwritten(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "ACCURACY.md"
    file.write_text("a page\n")
    with pytest.raises(InputError, match="has no section to write"):
        page.write(file, facts)
    assert file.read_text() == "a page\n"


def install(name: str, space: str = SPACE, *, synthetic: bool = False) -> None:
    with store.installation(name) as folder:
        for network in NETWORKS:
            (folder / network).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": synthetic, "weights": name}
        store.write_manifest(folder, {"space": space, **facts})


def test_the_models_of_one_space_are_measured_together_fp32_first() -> None:
    install("casia-webface-facenet-int8")
    install("casia-webface-facenet")
    install("another-facenet", "cd" * 32 + "/facenet")
    install("synthetic-facenet", "00/facenet", synthetic=True)
    assert [model.path.name for model in accuracy.chosen(None)] == [
        "casia-webface-facenet", "casia-webface-facenet-int8",
    ]  # fmt: skip
    with pytest.raises(InputError, match="recognises nobody"):
        accuracy.chosen(["synthetic-facenet"])
    with pytest.raises(InputError, match="different embedding spaces"):
        accuracy.chosen(["casia-webface-facenet", "another-facenet"])
    with pytest.raises(ModelError, match="no-such"):
        accuracy.chosen(["no-such"])


def test_without_learned_weights_the_command_that_builds_them_is_said() -> None:
    install("synthetic-facenet", "00/facenet", synthetic=True)
    with pytest.raises(ModelError, match="no model with learned weights") as caught:
        accuracy.chosen(None)
    assert "--weights casia-webface" in (caught.value.hint or "")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="contains no model"):
        accuracy.chosen([str(tmp_path)])


def test_samples_without_photographs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photographs in people/enrolled"):
        accuracy._check(tmp_path, [5])
    (tmp_path / "people" / "enrolled" / "Ada").mkdir(parents=True)
    with pytest.raises(InputError, match="at least the five"):
        accuracy._check(tmp_path, [4])
    assert accuracy.course(tmp_path / "course-gallery.pt") is None
