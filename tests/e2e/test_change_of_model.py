"""A change of model and its rollback on a real local cloud, with the gallery re-embedded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Facectl, free_port

from facectl.models import reference, synthetic

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAME = "Eileen Collins"
FIRST = "synthetic-facenet"


@pytest.fixture
def own(facectl: Facectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facectl]:
    """A local cloud and models of its own: what is built here must not be others' newest model."""
    own = Facectl(tmp_path_factory.mktemp("own-home"))
    models = own.home / "data" / "models"
    models.mkdir(parents=True)
    (models / FIRST).symlink_to(facectl.home / "data" / "models" / FIRST)
    own("local", "up", "--port", free_port())
    yield own
    own("local", "down", expect=None)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of another seed, in a file: not known as synthetic, as learned ones are not."""
    monkeypatch.setattr(synthetic, "_SEED", synthetic._SEED + 1)
    file = tmp_path / "other.pt"
    torch.save(reference.tensors(synthetic.make("facenet").state), file)
    return file


def answer(own: Facectl, photo: Path, out: Path) -> str:
    own("send", photo, "--out", out)
    [line] = out.read_text().splitlines()
    return str(json.loads(line)["result"])


def test_change_of_model_and_rollback(
    own: Facectl, weights: Path, portrait: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.jsonl"
    own("deploy", "--asu-id", "m1", "--target", "local", "--model", FIRST)
    own("gallery", "enroll", NAME, portrait)
    own("deploy", "--model", FIRST)
    built = own.json("models", "build", "--weights", weights, "--precision", "fp32")
    second = built["name"]

    planned = own("deploy", "--model", second, "--dry-run")
    assert f"gallery: re-embed 1 photographs of 1 people for model {second}" in planned.stdout
    assert own.json("gallery", "list")["synthetic"] is True

    # No photograph, no flag, no answer: the model is all that is named.
    deployed = own.json("deploy", "--model", second)
    assert deployed["steps"][0]["kind"] == "gallery"
    assert deployed["synthetic"] is False
    assert answer(own, portrait, out) == NAME
    facts = own.json("gallery", "status")
    assert facts["problems"] == []
    assert facts["published"]["version"] == facts["here"]["version"] == 2

    back = own("gallery", "rollback", 1, "--yes")
    assert "Version 3 is a copy of version 1." in back.stdout
    assert answer(own, portrait, out) == NAME
    facts = own.json("gallery", "status")
    assert facts["problems"] == []
    assert facts["published"]["space"] == own.json("context")["space"] != deployed["space"]
    models = [version["space"]["model"] for version in own.json("gallery", "history")]
    assert models == [FIRST, second, FIRST, FIRST]
    assert own("deploy", "--model", FIRST).stdout.startswith("Nothing to change")
