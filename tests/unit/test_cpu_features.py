"""The instruction sets of a CPU, from /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_src.cpu import features


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx avx2 avx512f avx512_vnni\n",
            "avx2 avx512f avx512_vnni",
        ),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n", "asimd asimddp i8mm"),
        ("flags : avx2\n\nprocessor : 1\nflags : avx2 avx512f\n", "avx2"),
        ("flags\t: fpu sse2\n", ""),
        ("", ""),
    ],
)
def test_features(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert features(file) == expected.split()


def test_a_system_without_cpuinfo(tmp_path: Path) -> None:
    assert features(tmp_path / "missing") == []
