"""The functions' environment variables, read once, at import."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Where the container images keep the model; the local target names a folder instead.
DEFAULT_MODEL_DIR = Path("/opt/facectl/model")
# One vCPU for each 1,769 MB, by AWS's documentation of Lambda.
MB_PER_VCPU = 1769


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """The settings of a deployed function. Sizes in bytes and pixels, times in seconds."""

    model_dir: Path = DEFAULT_MODEL_DIR
    request_queue_url: str = ""
    response_queue_url: str = ""
    gallery_bucket: str = ""
    gallery_refresh: float = 5.0
    # The receive count at which SQS moves a message to the dead-letter queue.
    max_receives: int = 5
    # Of the request queue, in seconds.
    visibility_timeout: int = 360
    # Function URLs take 6 MB, of which base64 is 4/3.
    max_image_bytes: int = 6_000_000
    max_image_pixels: int = 40_000_000
    min_face_size: int = 20
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    pyramid_factor: float = 0.709
    threads: int = 1
    # Whether log lines may contain the names of recognised people.
    log_names: bool = True

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> FunctionSettings:
        """Read FACECTL_* variables; raises ValueError that names the invalid one."""
        default = cls()
        return cls(
            model_dir=Path(env.get("FACECTL_MODEL_DIR", str(default.model_dir))),
            request_queue_url=env.get("FACECTL_REQUEST_QUEUE_URL", ""),
            response_queue_url=env.get("FACECTL_RESPONSE_QUEUE_URL", ""),
            gallery_bucket=env.get("FACECTL_GALLERY_BUCKET", ""),
            gallery_refresh=_number(env, "FACECTL_GALLERY_REFRESH", default.gallery_refresh),
            max_receives=int(_number(env, "FACECTL_MAX_RECEIVES", default.max_receives)),
            visibility_timeout=int(
                _number(env, "FACECTL_VISIBILITY_TIMEOUT", default.visibility_timeout)
            ),
            max_image_bytes=int(_number(env, "FACECTL_MAX_IMAGE_BYTES", default.max_image_bytes)),
            max_image_pixels=int(
                _number(env, "FACECTL_MAX_IMAGE_PIXELS", default.max_image_pixels)
            ),
            min_face_size=int(_number(env, "FACECTL_MIN_FACE_SIZE", default.min_face_size)),
            thresholds=_thresholds(env, default.thresholds),
            pyramid_factor=_number(env, "FACECTL_PYRAMID_FACTOR", default.pyramid_factor),
            threads=int(_number(env, "FACECTL_THREADS", available_threads(env))),
            log_names=env.get("FACECTL_LOG_NAMES", "1") != "0",
        )


def available_threads(env: Mapping[str, str]) -> int:
    """The cores that this process can use, on Lambda at most one per 1,769 MB of memory."""
    usable = usable_cores() or 1
    memory = env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is None:
        return max(1, usable)
    return max(1, min(usable, round(int(memory) / MB_PER_VCPU)))


def usable_cores() -> int | None:
    """The cores in this process's affinity mask, else of the machine; None if unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{name} must be a number, not {text!r}") from error


def _thresholds(
    env: Mapping[str, str], default: tuple[float, float, float]
) -> tuple[float, float, float]:
    text = env.get("FACECTL_THRESHOLDS")
    if text is None:
        return default
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"FACECTL_THRESHOLDS must be three numbers such as 0.6,0.7,0.7, not {text!r}"
        ) from error
    return first, second, third
