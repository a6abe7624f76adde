"""The MTCNN cascade: P-Net proposes boxes, R-Net refines them, O-Net decides.

The steps are those of facenet-pytorch's `detect_face` (2.5.3) for one image, with
`keep_all=True` and the largest face first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_src.vision import boxes as geometry
from lambda_src.vision.boxes import Face, Floats, Indices
from lambda_src.vision.crops import check_image
from lambda_src.vision.pyramid import AreaImage, scales
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import ONET, PNET, RNET, Model
from lambda_src.vision.workers import Workers

_STRIDE, _CELL = 2, 12
# The rows and columns of P-Net windows in a tile: larger levels are split into tiles,
# whose intermediate results fit into the CPU's cache.
_TILE = (64, 256)
# The pixels that a tile needs in addition to its windows' strides.
_MARGIN = _CELL - _STRIDE
# Batch sizes, for the same reason.
_RNET_BATCH, _ONET_BATCH = 16, 8
# Levels of up to this many pixels are all scaled before P-Net, which would drive the image's
# sums out of the cache. More of them would not fit into it themselves.
_TOGETHER = 2**19
# Candidates whose pixels are cut at once.
_CUT = 64


class _Strip(NamedTuple):
    """Rows of P-Net's windows, first and last, of a level: its number and size in pixels."""

    level: int
    height: int
    width: int
    rows: tuple[int, int]


class Detector:
    """MTCNN with the networks of one model and facenet-pytorch's settings.

    Not thread-safe: the next image reuses the memory of the last one's sums.
    """

    def __init__(
        self,
        model: Model,
        *,
        threads: int,
        min_face_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        pyramid_factor: float = 0.709,
    ) -> None:
        # Sharing each operation of such small networks gains less than running batches and
        # parts of the pyramid side by side.
        self._pnet = Network(model.file(PNET), threads=1)
        self._rnet = Network(model.file(RNET), threads=1)
        self._onet = Network(model.file(ONET), threads=1)
        self._workers = Workers(threads)
        self._min_face_size = min_face_size
        self._thresholds = thresholds
        self._least = _logit(thresholds[0])
        self._factor = pyramid_factor
        self._area: AreaImage | None = None

    def detect(self, image: NDArray[np.uint8], min_face_size: int | None = None) -> list[Face]:
        """The faces in an (H, W, 3) uint8 RGB image, the largest first.

        `min_face_size`, in pixels, replaces that of the detector for this image. Raises
        ValueError for an image of another shape or dtype.
        """
        check_image(image)
        self._area = AreaImage(image, self._area)
        proposed = self._propose(self._area, min_face_size or self._min_face_size)
        boxes = self._refine(self._area, proposed)
        return self._decide(self._area, boxes)

    def _propose(self, area: AreaImage, min_face_size: int) -> Floats:
        levels = [
            (scale, int(area.height * scale + 1), int(area.width * scale + 1))
            for scale in scales(area.height, area.width, min_face_size, self._factor)
        ]
        strips = [
            _Strip(place, height, width, rows)
            for place, (_, height, width) in enumerate(levels)
            for rows in _strips(height)
        ]
        passed: list[tuple[Indices, Floats]]
        if sum(height * width for _, height, width in levels) <= _TOGETHER:
            pixels = self._workers.map(lambda strip: _pixels(area, strip), strips)
            passed = self._workers.map(self._passed, pixels)
        else:
            passed = self._workers.map(lambda strip: self._passed(_pixels(area, strip)), strips)
        if not passed:
            return np.empty((0, 4), np.float32)
        boxes, scores, offsets, level = _candidates(levels, strips, passed)
        kept = geometry.nms(boxes, scores, 0.5, level)
        boxes, scores, offsets = boxes[kept], scores[kept], offsets[kept]
        # No two boxes of a level overlap by more than 0.5 now, and rarely can those of two levels.
        if geometry.differ_in_area(boxes, level[kept], 0.7):
            kept = np.argsort(-scores, kind="stable")
        else:
            kept = geometry.nms(boxes, scores, 0.7)
        return geometry.to_square(geometry.refined(boxes[kept], offsets[kept], edge=0))

    def _passed(self, strip: Floats) -> tuple[Indices, Floats]:
        """The numbers of the windows of a strip that passed, row by row, and P-Net's output."""
        windows = self._windows(strip).reshape(5, -1)
        passed = (windows[4] >= self._least).nonzero()[0]
        return passed, windows.take(passed, 1)

    def _windows(self, level: Floats) -> Floats:
        """P-Net's output (5, h, w) for a strip (3, H, W): offsets and logit of each window."""
        width = _windows_of(level.shape[2])
        across = _even(width, _TILE[1])
        tiles = [
            self._pnet(level[None, :, :, x * _STRIDE : (x + across) * _STRIDE + _MARGIN])[0]
            for x in range(0, width, across)
        ]
        return tiles[0] if len(tiles) == 1 else np.concatenate(tiles, axis=2)

    def _in_batches(
        self, network: Network, area: AreaImage, slices: NDArray[np.int64], size: int, batch: int
    ) -> Floats:
        """The outputs of R- or O-Net for slices of the image, scaled to `size` pixels."""
        # Large ones last, because one makes all that are cut with it be read in parts, and from
        # top to bottom, because those of near rows share what is in the cache.
        order = np.lexsort((slices[:, 1], slices[:, 2] - slices[:, 0] > 15 * size))
        slices = slices[order]
        pixels = np.empty((len(slices), 3, size, size), np.float32)
        # All before the first batch: the image's sums and the network's weights would drive
        # each other out of the CPU's cache.
        cuts = self._workers.split(len(slices), _CUT)
        self._workers.map(lambda some: area.windows(slices[some], pixels[some]), cuts)
        batches = self._workers.split(len(slices), batch)
        found = np.concatenate(self._workers.map(lambda some: network(pixels[some]), batches))
        unsorted = np.empty_like(found)
        unsorted[order] = found
        return unsorted

    def _refine(self, area: AreaImage, boxes: Floats) -> Floats:
        boxes, slices = _inside(boxes, area)
        if len(boxes) == 0:
            return boxes
        found = self._in_batches(self._rnet, area, slices, 24, _RNET_BATCH)
        scores = face_probability(found[:, -1])
        passed = scores > np.float32(self._thresholds[1])
        boxes, offsets = boxes[passed], found[passed, :4]
        kept = geometry.nms(boxes, scores[passed], 0.7)
        return geometry.to_square(geometry.refined(boxes[kept], offsets[kept], edge=1))

    def _decide(self, area: AreaImage, boxes: Floats) -> list[Face]:
        boxes, slices = _inside(boxes, area)
        if len(boxes) == 0:
            return []
        found = self._in_batches(self._onet, area, slices, 48, _ONET_BATCH)
        scores = face_probability(found[:, -1])
        passed = scores > np.float32(self._thresholds[2])
        boxes, found, scores = boxes[passed], found[passed], scores[passed]
        landmarks = _landmarks(boxes, found[:, 4:14])
        boxes = geometry.refined(boxes, found[:, :4], edge=1)
        kept = geometry.nms_by_smaller(boxes, scores, 0.7)
        sizes = (boxes[kept, 2] - boxes[kept, 0]) * (boxes[kept, 3] - boxes[kept, 1])
        return [_face(boxes[i], scores[i], landmarks[i]) for i in kept[np.argsort(sizes)[::-1]]]


def _even(length: int, limit: int) -> int:
    """The length divided into the fewest equal parts of at most `limit`."""
    return -(-length // -(-length // limit))


def _strips(height: int) -> list[tuple[int, int]]:
    """The first and last row of windows of each strip of a level with this many pixels."""
    windows = _windows_of(height)
    rows = _even(windows, _TILE[0])
    return [(first, min(first + rows, windows)) for first in range(0, windows, rows)]


def _pixels(area: AreaImage, strip: _Strip) -> Floats:
    """The pixels (3, H, W) that the windows of a strip cover."""
    top, bottom = strip.rows
    rows = slice(top * _STRIDE, bottom * _STRIDE + _MARGIN)
    return area.resized(strip.height, strip.width, rows)


def _windows_of(side: int) -> int:
    """The number of P-Net's windows along this many pixels."""
    return -(-(side - _MARGIN) // _STRIDE)


def _candidates(
    levels: list[tuple[float, int, int]],
    strips: list[_Strip],
    passed: list[tuple[Indices, Floats]],
) -> tuple[Floats, Floats, Floats, Indices]:
    """Box, score, offsets and level of the windows that passed, which are in rising order."""
    found = np.concatenate([output for _, output in passed], axis=1)
    origins = [(strip.level, strip.rows[0], _windows_of(strip.width)) for strip in strips]
    counts = [len(numbers) for numbers, _ in passed]
    level, top, across = np.repeat(origins, counts, axis=0).T
    rows, columns = np.divmod(np.concatenate([numbers for numbers, _ in passed]), across)
    scale = np.array([scale for scale, _, _ in levels], np.float32)[level]
    corner = np.stack([columns, rows + top]).astype(np.float32) * _STRIDE
    boxes = np.floor(np.concatenate([corner + 1, corner + _CELL]) / scale).T
    return boxes, face_probability(found[4]), found[:4].T, level


def face_probability(logits: Floats) -> Floats:
    """The probability of a face: the softmax of two logits, given their difference."""
    # Beyond 88 the exponential overflows; beyond 80 the probability is 0 or 1 anyway.
    probabilities: Floats = np.reciprocal(1 + np.exp(-logits.clip(-80, 80)), dtype=np.float32)
    return probabilities


def _logit(probability: float) -> float:
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


def _inside(boxes: Floats, area: AreaImage) -> tuple[Floats, NDArray[np.int64]]:
    slices = geometry.clipped(boxes, area.width, area.height)
    some = (slices[:, 2] > slices[:, 0]) & (slices[:, 3] > slices[:, 1])
    return boxes[some], slices[some]


def _landmarks(boxes: Floats, points: Floats) -> Floats:
    """(N, 5, 2): x, y in pixels; O-Net's output is relative to the box, five x before five y."""
    width = boxes[:, 2:3] - boxes[:, 0:1] + 1
    height = boxes[:, 3:4] - boxes[:, 1:2] + 1
    x = width * points[:, :5] + boxes[:, 0:1] - 1
    y = height * points[:, 5:] + boxes[:, 1:2] - 1
    return np.stack([x, y], axis=2)


def _face(box: Floats, probability: np.float32, landmarks: Floats) -> Face:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    points = tuple((float(x), float(y)) for x, y in landmarks)
    return Face((x0, y0, x1, y1), float(probability), points)
