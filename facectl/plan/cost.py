"""The cost of a month by service, beside Amazon Rekognition and rented machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.plan import limits
from facectl.plan.formulas import CROP_KB, Capacity, batch_of
from facectl.plan.inputs import DAYS
from facectl.prices import PlanPrices, tiered

# Log bytes of a frame with a face: the JSON lines of both functions and Lambda's START, END
# and REPORT lines: 2,700 on the local cloud; CloudWatch adds 26 to each of 12 lines.
LOG_BYTES = 3000.0
# Bytes of a frame that leave AWS: the answers to the POST and of the response queue.
_ANSWER_BYTES = 1500.0
# Messages of an answer batch: the client receives and deletes up to ten at once.
_ANSWERS_AT_ONCE = 10
# Machines are rented for the peak, and kept at most this busy: queues grow without bound
# towards 1 (M/M/c).
UTILISATION = 0.6
# A vCPU of a machine is a hyperthread, as a Lambda vCPU is.
NOT_COUNTED = (
    "the free tier, support, taxes, storage of images and galleries, CloudWatch alarms, and the "
    "computers and networks of the cameras"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a month uses. Durations in GB-seconds, sizes in GB."""

    frames: float
    detection_gb_seconds: float
    recognition_gb_seconds: float
    invocations: float
    sqs_requests: float
    s3_gets: float
    log_gb: float
    transfer_gb: float
    poller_hours: float


@dataclass(frozen=True, slots=True)
class MonthCost:
    """The cost of a month by service, in the currency of the price table."""

    usage: Usage
    parts: Mapping[str, float]
    currency: str

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def thousand(self) -> float:
        """The cost of 1,000 frames."""
        return self.total / self.usage.frames * 1000


def usage_of(capacity: Capacity) -> Usage:
    """What a month of the load uses."""
    load, times, settings = capacity.load, capacity.times, capacity.settings
    frames, with_face = load.frames_a_month, load.frames_a_month * load.with_face
    batch = usual_batch(capacity)
    batches = with_face / batch
    recognition = batches * times.recognition(batch, load.faces_a_message)
    memory = settings.memory / 1024
    # Environments check for a new gallery only while they have batches.
    checks = min(
        batches / max(1.0, load.seconds_a_month),
        capacity.recognition / load.curve.peak / limits.GALLERY_REFRESH + 1,
    )
    return Usage(
        frames=frames,
        detection_gb_seconds=frames * times.detection * memory,
        recognition_gb_seconds=recognition * memory,
        invocations=frames + batches,
        sqs_requests=_sqs_requests(capacity, batch),
        s3_gets=checks * load.seconds_a_month,
        log_gb=frames * LOG_BYTES * (0.5 + 0.5 * load.with_face) / 1024**3,
        transfer_gb=frames * _ANSWER_BYTES / 1024**3,
        poller_hours=capacity.pollers.least * 24 * DAYS,
    )


def usual_batch(capacity: Capacity) -> int:
    """Messages of a batch at the mean rate of the day."""
    capacity = capacity.one_deployment
    load = capacity.load
    return batch_of(
        load.mean_rate * load.with_face,
        capacity.pollers.most_batches,
        capacity.times,
        load,
        capacity.settings.batch_size,
    )


def _sqs_requests(capacity: Capacity, batch: int) -> float:
    """SQS requests of a month: each 64 kB of a payload is one."""
    load = capacity.load
    chunks = math.ceil(load.faces_a_message * CROP_KB / 64)
    # Send, receive, and a share of the batch's delete.
    request = 2 * chunks + 1 / batch
    # Send, and a share of the receive and delete of ten answers.
    answer = 1 + 2 / _ANSWERS_AT_ONCE
    frames = load.frames_a_month
    return frames * (load.with_face * request + answer)


def cost_of(capacity: Capacity, prices: PlanPrices) -> MonthCost:
    """The cost of a month of the load; each deployment has the tiers of its own region."""
    one = capacity.one_deployment
    ratio = capacity.load.frames_a_month / one.load.frames_a_month
    parts = {name: cost * ratio for name, cost in _parts(one, prices).items()}
    return MonthCost(usage_of(capacity), parts, prices.prices.currency)


def _parts(capacity: Capacity, prices: PlanPrices) -> dict[str, float]:
    """The cost of a month of one deployment by service."""
    usage = usage_of(capacity)
    architecture = capacity.settings.architecture
    seconds = usage.detection_gb_seconds + usage.recognition_gb_seconds
    compute = prices.prices.lambda_gb_second[architecture] * tiered(
        seconds, prices.lambda_tiers[architecture]
    )
    parts = {
        DETECTION_FUNCTION: compute * usage.detection_gb_seconds / seconds,
        RECOGNITION_FUNCTION: compute * usage.recognition_gb_seconds / seconds,
        "Lambda requests": usage.invocations * prices.prices.lambda_million_requests / 1e6,
        "SQS": usage.sqs_requests * prices.prices.sqs_million_requests / 1e6,
        "CloudWatch Logs": tiered(usage.log_gb, prices.log_gb),
        "S3 gallery checks": usage.s3_gets * prices.s3_million_gets / 1e6,
        "data transfer out": tiered(usage.transfer_gb, prices.transfer_gb),
    }
    if usage.poller_hours:
        parts["provisioned pollers"] = usage.poller_hours * prices.poller_hour
    return parts


def rekognition(frames: float, prices: PlanPrices) -> float:
    """The cost of one SearchFacesByImage for each frame of a month.

    It searches for the largest face of an image, and is charged without a face too.
    """
    return tiered(frames, prices.rekognition_image)


@dataclass(frozen=True, slots=True)
class Machines:
    """Rented machines for the same computing: their type, number at the peak, cost of a month."""

    type: str
    vcpus: int
    at_peak: int
    mean: float
    cost: float


def machines_for(capacity: Capacity, prices: PlanPrices) -> Machines | None:
    """Machines that compute the peak at 60 % of their vCPUs; None without a price.

    They follow the curve of the day, in the hours in which the cameras send. Not
    counted: queue, load balancer, deployment, failed machines.
    """
    machine = prices.machines.get(capacity.settings.architecture)
    if machine is None:
        return None
    load = capacity.load
    # Computing on one vCPU, whatever the memory of the functions is.
    times = capacity.one_vcpu
    frame = times.detection + load.with_face * times.recognition(1, load.faces_a_message)
    each = machine.vcpus * UTILISATION
    peak = max(1, math.ceil(load.peak_rate * frame / each))
    mean = max(1.0, load.mean_rate * frame / each)
    return Machines(
        machine.type, machine.vcpus, peak, mean, mean * machine.hour * load.hours * DAYS
    )
