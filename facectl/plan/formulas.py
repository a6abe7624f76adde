"""Concurrent executions, pollers, messages in flight and times to scale: pure functions.

docs/CAPACITY.md has them on one page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from facectl.plan import limits
from facectl.plan.inputs import Load, Settings
from facectl.plan.times import ServiceTimes

# Of the normal distribution: one second in about 1,000 exceeds it.
_QUANTILE = 3.09
# Room of quotas and pollers for a burst and for the time after a fault.
MARGIN = 1.25


def executions(rate: float, seconds: float) -> float:
    """Mean number of executions at once: Little's law, L = lambda W.

    Source: J. Little, "A Proof for the Queuing Formula L = lambda W", Operations
    Research 9, 1961.
    """
    return rate * seconds


def peak_executions(mean: float) -> int:
    """The number of executions that is exceeded once in about 1,000 moments.

    With random arrivals and an execution for each of them the number at once is
    Poisson distributed, whatever the distribution of the times (M/G/infinity), and its
    standard deviation is the root of the mean. Source: L. Kleinrock, "Queueing Systems
    I", 1975, section 3.4.
    """
    return math.ceil(mean + _QUANTILE * math.sqrt(mean))


def batch_of(
    rate: float, executions_at_most: float, times: ServiceTimes, load: Load, most: int
) -> int:
    """The smallest batch with which the executions serve the rate; `most` if none does.

    Batches grow only when messages wait: an idle poller takes the first message alone.
    """
    for size in range(1, most + 1):
        seconds = times.recognition(size, load.faces_a_message)
        if executions_at_most * size >= rate * seconds:
            return size
    return most


def environments_seconds(count: float) -> float:
    """Seconds until a function has `count` execution environments: 1,000 every 10 s [scaling]."""
    return count / limits.ENVIRONMENTS_PER_SECOND


def mapping_seconds(batches: float) -> float:
    """Seconds until the event source mapping runs `batches` at once: 5, and 300 more a minute."""
    return max(0.0, batches - limits.FIRST_BATCHES) / limits.BATCHES_PER_MINUTE * 60


def poller_seconds(batches: float, least_pollers: int) -> float:
    """The same with provisioned pollers: 10 batches each at once, and 1,000 more a minute."""
    ready = least_pollers * limits.BATCHES_PER_POLLER
    return max(0.0, batches - ready) / limits.POLLER_BATCHES_PER_MINUTE * 60


@dataclass(frozen=True, slots=True)
class Pollers:
    """How recognition is fed: `max_concurrency` of the mapping, or provisioned pollers."""

    max_concurrency: int | None = None
    least: int = 0
    most: int = 0

    @property
    def first_batches(self) -> float:
        """Batches at once without a ramp."""
        if self.max_concurrency is not None:
            return min(self.max_concurrency, limits.FIRST_BATCHES)
        return self.least * limits.BATCHES_PER_POLLER

    @property
    def most_batches(self) -> float:
        """Batches at once after the ramp."""
        if self.max_concurrency is not None:
            return self.max_concurrency
        return self.most * limits.BATCHES_PER_POLLER

    @property
    def batches_per_second(self) -> float:
        """The ramp: additional batches at once per second."""
        per_minute = (
            limits.BATCHES_PER_MINUTE
            if self.max_concurrency is not None
            else limits.POLLER_BATCHES_PER_MINUTE
        )
        return per_minute / 60

    def messages_per_second(self, batches: float, message_kb: float) -> float:
        """The most messages a second with `batches` at once: a provisioned poller has 1 MB/s."""
        if self.max_concurrency is not None or message_kb <= 0:
            return math.inf
        pollers = batches / limits.BATCHES_PER_POLLER
        return pollers * limits.POLLER_MB_PER_SECOND * 1024 / message_kb

    @property
    def flag(self) -> str:
        """The option of `facectl deploy`."""
        if self.max_concurrency is not None:
            return f"--max-concurrency {self.max_concurrency}"
        return f"--pollers {self.least}:{self.most}"

    def seconds_to(self, batches: float) -> float:
        """Seconds until it runs `batches` at once."""
        if self.max_concurrency is not None:
            return mapping_seconds(batches)
        return poller_seconds(batches, self.least)


def pollers_needed(batches: float, megabytes_per_second: float) -> int:
    """Provisioned pollers for this number of batches at once and this rate."""
    return math.ceil(
        max(batches / limits.BATCHES_PER_POLLER, megabytes_per_second / limits.POLLER_MB_PER_SECOND)
    )


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a load needs at its peak. Rates per second, times in seconds.

    `detection`, `recognition`: mean executions at once at the peak of the day;
    `*_peak`: those exceeded once in 1,000 moments; `detection_most`: executions of a
    limit that also allows the requests; `quota`: the executions of the account, of which
    `reserved` are for face-detection. `times` are those with the
    settings, `one_vcpu` those without.
    """

    load: Load
    settings: Settings
    times: ServiceTimes
    one_vcpu: ServiceTimes
    detection: float
    detection_peak: int
    detection_most: int
    recognition: float
    recognition_peak: int
    pollers: Pollers
    quota: int
    reserved: int

    @classmethod
    def of(cls, load: Load, settings: Settings, times: ServiceTimes) -> Capacity:
        """The capacity for a load; `times` are those on one vCPU."""
        one_vcpu, times = times, times.with_settings(settings)
        detection = executions(load.peak_rate, times.detection)
        # Enough that an idle poller takes each message alone: the lowest latency.
        recognition = executions(
            load.peak_rate * load.with_face, times.recognition(1, load.faces_a_message)
        )
        detection_peak, peak = peak_executions(detection), peak_executions(recognition)
        # A function takes at most ten requests a second per execution of its limit.
        requests = math.ceil(load.peak_rate / limits.REQUESTS_PER_EXECUTION)
        detection_most = max(detection_peak, requests)
        needed = (detection_most + peak) * MARGIN
        quota = settings.concurrency_limit or max(
            limits.DEFAULT_CONCURRENCY, math.ceil(needed / 500) * 500
        )
        reserved = _reserved(quota, detection_most, peak)
        most = min(limits.MOST_MAX_CONCURRENCY, quota - reserved)
        fed = Pollers(max_concurrency=max(2, min(most, math.ceil(peak * MARGIN))))
        return cls(
            load=load,
            settings=settings,
            times=times,
            one_vcpu=one_vcpu,
            detection=detection,
            detection_peak=detection_peak,
            detection_most=detection_most,
            recognition=recognition,
            recognition_peak=peak,
            pollers=fed if settings.pollers is None else Pollers(None, *settings.pollers),
            quota=quota,
            reserved=reserved,
        )

    @property
    def deployments(self) -> int:
        """Deployments, each in its own account or region, that no limit of AWS is too low for.

        The mapping of one request queue runs at most 1,000 batches at once.
        """
        return max(
            1,
            math.ceil(self.recognition_peak * MARGIN / limits.MOST_MAX_CONCURRENCY),
            math.ceil(self.messages_in_flight / limits.MESSAGES_IN_FLIGHT),
        )

    @property
    def needs_reservation(self) -> bool:
        """Whether a burst of one function could leave the other too few executions."""
        return 2 * (self.detection_most + self.recognition_peak) > self.quota

    @property
    def provisioned_pollers(self) -> int:
        """Pollers that would carry the peak instead: 1 MB/s and 10 batches at once each."""
        return pollers_needed(self.recognition_peak * MARGIN, megabytes(self.load) * MARGIN)

    @property
    def one_deployment(self) -> Capacity:
        """The capacity of one of the deployments, which share the cameras."""
        count = self.deployments
        if count == 1:
            return self
        load = replace(self.load, cameras=math.ceil(self.load.cameras / count))
        return Capacity.of(load, self.settings, self.one_vcpu)

    @property
    def frame_seconds(self) -> float:
        """Seconds of one frame with a face in both functions."""
        return self.times.detection + self.times.recognition(1, self.load.faces_a_message)

    @property
    def messages_in_flight(self) -> float:
        """Messages received and not deleted, at the peak; SQS allows about 120,000."""
        return self.recognition

    @property
    def request_bytes(self) -> float:
        """Bytes of a frame as a request: JPEG in base64; a Function URL takes 6 MB."""
        return self.load.frame_kb * 1024 * 4 / 3

    @property
    def gallery_checks(self) -> float:
        """GET requests to S3 per second: every environment each 5 s, when it has a batch."""
        batches = self.load.peak_rate * self.load.with_face
        return min(batches, self.recognition_peak / limits.GALLERY_REFRESH)

    @property
    def start_seconds(self) -> float:
        """Seconds from no environment to the peak: both functions and the pollers in parallel."""
        return max(
            environments_seconds(self.detection_peak),
            environments_seconds(self.recognition_peak),
            self.pollers.seconds_to(self.recognition_peak),
        )


def _reserved(quota: int, detection_most: int, recognition_peak: int) -> int:
    """The executions reserved for face-detection: all that recognition does not need.

    At least 100 stay unreserved, as AWS requires; an account with fewer than 200 can't
    reserve that number, and shares its executions by the need. The same shares apply if the
    account has too few for both.
    """
    recognition = max(limits.UNRESERVED, math.ceil(recognition_peak * MARGIN))
    if quota < 2 * limits.UNRESERVED or detection_most + recognition > quota:
        recognition = round(quota * recognition_peak / (detection_most + recognition_peak))
    return quota - min(quota - 1, max(1, recognition))


# A face's crop in base64: a 160x160 PNG of a photograph has 16 to 41 kB.
CROP_KB = 56.0


def message_kb(load: Load) -> float:
    """Kilobytes of a message of the request queue."""
    return CROP_KB * load.faces_a_message


def megabytes(load: Load) -> float:
    """MB a second through the request queue at the peak."""
    return load.peak_rate * load.with_face * message_kb(load) / 1024
