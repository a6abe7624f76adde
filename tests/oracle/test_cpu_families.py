"""The same embeddings and boxes on every family of CPUs that Lambda and users have.

Emulated by qemu-user: AVX2 alone, and arm64. qemu has no AVX-512, so VNNI is tested where this
computer has it. The weights are trained ones: int8 is not judged on synthetic weights.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arm64
import numpy as np
import onnxruntime.quantization
import pytest
from driver import TEST_CACHE, casia_webface
from PIL import Image

from facectl.models import builder, portrait
from lambda_src import cpu
from lambda_src.vision.store import Model

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("cpu_worker.py")
# Of the models that the worker runs.
FP32, INT8, FULL_RANGE = range(3)
FAMILIES = ("this computer", "AVX2", "arm64")
# The portrait's face is then 43 pixels high.
PICTURE_SIDE = 200


@pytest.fixture(scope="module")
def models(shared_folder: Path) -> list[Model]:
    """fp32, int8, and int8 with the full range of weights, which CPUs without VNNI overflow."""
    casia_webface()
    home = shared_folder / "models-casia-webface"
    home.mkdir()
    (home / "cache").symlink_to(TEST_CACHE / "cache")
    real = onnxruntime.quantization.quantize_static
    full_range = functools.partial(_without_reduced_range, real)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_HOME", str(home))
        patch.setattr(onnxruntime.quantization, "quantize_static", full_range)
        builder.build("casia-webface", precision="int8").path.rename(home / "full-range")
        patch.setattr(onnxruntime.quantization, "quantize_static", real)
        built = [builder.build("casia-webface", precision=each) for each in ("fp32", "int8")]
    return [*built, Model.open(home / "full-range")]


def _without_reduced_range(quantize: Callable[..., None], *arguments: Any, **options: Any) -> None:
    quantize(*arguments, **{**options, "reduce_range": False})


class Machines:
    """The workers of all families, started together; each answers once."""

    def __init__(self, models: list[Model], folder: Path) -> None:
        np.save(folder / "crops.npy", portrait.variants("facenet", 2, 21))
        size = (PICTURE_SIDE, PICTURE_SIDE)
        picture = Image.fromarray(portrait.portrait()).resize(size, Image.Resampling.BOX)
        np.save(folder / "picture.npy", np.asarray(picture))
        self._inputs = [str(folder / "crops.npy"), str(folder / "picture.npy")]
        self._inputs += [str(model.path) for model in models]
        self._answers: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._start("this computer", [sys.executable], [])
        self._start_avx2()
        self._start_arm64()

    def _start_avx2(self) -> None:
        qemu = shutil.which("qemu-x86_64")
        if platform.machine() != "x86_64":
            self.missing["AVX2"] = f"this computer's Python is of {platform.machine()}"
        elif qemu is None:
            self.missing["AVX2"] = "qemu-x86_64 is not installed (Debian's qemu-user)"
        else:
            self._start("AVX2", [qemu, "-cpu", "Haswell", sys.executable], [])

    def _start_arm64(self) -> None:
        try:
            command, packages = arm64.command()
        except arm64.MissingError as error:
            self.missing["arm64"] = str(error)
        else:
            self._start("arm64", command, [str(packages)])

    def _start(self, name: str, command: list[str], packages: list[str]) -> None:
        self.processes[name] = subprocess.Popen(
            [*command, str(WORKER), *self._inputs],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *packages])},
            stdout=subprocess.PIPE,
            # qemu names there what it does not emulate.
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def answer(self, name: str) -> dict[str, Any]:
        """What a family's worker printed; skips the test without such a machine."""
        if name in self.missing:
            pytest.skip(f"no {name} machine: {self.missing[name]}")
        if name not in self._answers:
            text, _ = self.processes[name].communicate()
            assert self.processes[name].returncode == 0, f"the worker of {name} failed"
            self._answers[name] = json.loads(text)
        return self._answers[name]

    def embeddings(self, name: str, model: int) -> Any:
        return np.array(self.answer(name)["embeddings"][model])


@pytest.fixture(scope="module")
def machines(models: list[Model], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    started = Machines(models, tmp_path_factory.mktemp("cpu-families"))
    yield started
    for process in started.processes.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("model", [FP32, INT8], ids=["fp32", "int8"])
@pytest.mark.parametrize("family", FAMILIES[1:])
def test_embeddings(machines: Machines, family: str, model: int) -> None:
    here, there = (machines.embeddings(name, model) for name in (FAMILIES[0], family))
    assert (here * there).sum(axis=1).min() >= 0.999


@pytest.mark.parametrize("family", FAMILIES)
def test_both_precisions_are_comparable(machines: Machines, family: str) -> None:
    fp32, int8 = (machines.embeddings(family, model) for model in (FP32, INT8))
    assert (fp32 * int8).sum(axis=1).min() >= 0.997


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_boxes(machines: Machines, family: str) -> None:
    here, there = (np.array(machines.answer(name)["boxes"]) for name in (FAMILIES[0], family))
    assert here.shape == there.shape == (1, 4)
    assert np.abs(here - there).max() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_start_up_check_passes(machines: Machines, family: str) -> None:
    assert machines.answer(family)["mismatches"][:FULL_RANGE] == [None, None]


def test_the_start_up_check_finds_sums_that_overflow(machines: Machines) -> None:
    """int8 with the full range of weights, as built on a CPU with VNNI."""
    if not {"avx512_vnni", "avx_vnni"} & set(cpu.features()):
        pytest.skip("this computer has no VNNI: the model was built with the overflow")
    here, there = (machines.embeddings(name, FULL_RANGE) for name in (FAMILIES[0], "AVX2"))
    assert (here * there).sum(axis=1).min() < 0.9
    assert machines.answer(FAMILIES[0])["mismatches"][FULL_RANGE] is None
    found = machines.answer("AVX2")["mismatches"][FULL_RANGE]
    assert found is not None
    assert "gives other embeddings on this CPU" in found


def test_vnni_and_avx2_give_the_same(machines: Machines) -> None:
    if not {"avx512_vnni", "avx_vnni"} & set(cpu.features()):
        pytest.skip("this computer has no VNNI, and qemu does not emulate it")
    here, there = (machines.embeddings(name, INT8) for name in (FAMILIES[0], "AVX2"))
    assert (here * there).sum(axis=1).min() >= 0.9999


def test_features_of_the_emulated_cpu(machines: Machines) -> None:
    assert machines.answer("arm64")["features"] == ["asimd", "asimddp"]
