"""The vector instructions of this CPU, which decide how fast the networks run."""

from __future__ import annotations

from pathlib import Path

# As Linux names them: x86-64 first, then arm64 (asimd is NEON, asimddp its dot products).
_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_LABELS = ("flags", "Features")


def features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The vector instruction sets that Linux reports; empty where it does not.

    Source: proc(5), the first CPU's line of /proc/cpuinfo.
    """
    try:
        with cpuinfo.open() as lines:
            for line in lines:
                label, _, words = line.partition(":")
                if label.strip() in _LABELS:
                    found = set(words.split())
                    return [feature for feature in _FEATURES if feature in found]
    except OSError:
        pass
    return []
