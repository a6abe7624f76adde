"""Splits a version of the gallery into parts for publication.

A hash of the name assigns each person to a part, so a change rewrites only the
parts of the people it concerns; the other parts keep their bytes and keys.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from facectl.gallery import anchors
from facectl.gallery.changes import BUCKET_BITS, CENTROID
from facectl.gallery.store import Store
from lambda_src.gallery.parts import FLOAT32, INT8, Manifest, PartRef, write_part

# Exact search in float32 over this number of rows takes about 3 ms on one thread.
EXACT_ROWS = 20_000
# Small enough to upload again for one photograph, large enough for few objects.
_ROWS_PER_PART = {FLOAT32: 512, INT8: 8192}
_LAYOUT_KEY = "published"


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of one version, to find the unchanged parts of a later version.

    It has no state of a bucket: which parts exist there is read from the bucket.
    """

    version: int
    matching: str
    encoding: str
    refs: tuple[PartRef | None, ...]
    space: str = ""

    @classmethod
    def load(cls, store: Store) -> Layout | None:
        """The layout of the last publication, None before the first one."""
        text = store.get(_LAYOUT_KEY)
        if text is None:
            return None
        fields = json.loads(text)
        refs = tuple(None if ref is None else PartRef(**ref) for ref in fields.pop("refs"))
        return cls(refs=refs, **fields)

    def save(self, store: Store) -> None:
        """Store the layout with the gallery."""
        store.put(_LAYOUT_KEY, json.dumps(asdict(self)))


class Packer:
    """Makes the parts of a store's newest version, without those that are unchanged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = Layout.load(store)
        self.version = store.claim()
        self._settings = store.settings_of(self.version)
        self.people = len(people := store.people(self.version))
        ignored = anchors.counts(store, self.version)
        centroid = self._settings.matching == CENTROID
        rows = sum(len(each) if centroid else sum(each.values()) for each in (people, ignored))
        self.encoding = FLOAT32 if rows <= EXACT_ROWS else INT8
        self._refs: list[PartRef | None] = [None] * self._count(rows)

    def unchanged(self) -> set[PartRef]:
        """The parts that the last published version has too."""
        return {ref for ref in self._unchanged_by_index().values() if ref is not None}

    def missing(self, held: Collection[PartRef]) -> Iterator[tuple[PartRef, bytes]]:
        """Yield every part that is not in `held`, with its bytes; then `layout` is complete."""
        width = (1 << BUCKET_BITS) // len(self._refs)
        unchanged = self._unchanged_by_index()
        for index in range(len(self._refs)):
            self._refs[index] = known = unchanged.get(index)
            if index in unchanged and (known is None or known in held):
                continue
            data = self._make_part(index * width, (index + 1) * width)
            if data is not None:
                rows, content = data
                ref = PartRef(hashlib.sha256(content).hexdigest(), len(content), rows)
                self._refs[index] = ref
                if ref not in held:
                    yield ref, content

    @property
    def layout(self) -> Layout:
        """The layout to store for the next publication."""
        return Layout(
            self.version,
            self._settings.matching,
            self.encoding,
            tuple(self._refs),
            self._store.space,
        )

    def manifest(self) -> Manifest:
        """The manifest of the version, which names its parts."""
        settings = self._settings
        return Manifest(
            lineage=self._store.lineage,
            version=self.version,
            published=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            space=self._store.space,
            synthetic=self._store.synthetic,
            threshold=settings.threshold,
            metric=settings.metric,
            matching=settings.matching,
            people=self.people,
            encoding=self.encoding,
            parts=tuple(ref for ref in self._refs if ref is not None),
        )

    def _count(self, rows: int) -> int:
        """The number of parts, a power of two; unchanged while the parts' size is acceptable."""
        ideal = rows / _ROWS_PER_PART[self.encoding]
        if self._last is not None and self._last.encoding == self.encoding:
            last = len(self._last.refs)
            if last / 4 <= ideal <= last * 2 or (last == 1 and ideal <= 2):
                return last
        return min(1 << max(0, round(ideal) - 1).bit_length(), 1 << (BUCKET_BITS - 4))

    def _unchanged_by_index(self) -> dict[int, PartRef | None]:
        """The unchanged parts by index; None for a part without rows."""
        last = self._last
        if (
            last is None
            or len(last.refs) != len(self._refs)
            or last.encoding != self.encoding
            or last.matching != self._settings.matching
            or last.space != self._store.space
        ):
            return {}
        width = (1 << BUCKET_BITS) // len(self._refs)
        stale = {bucket // width for bucket in self._store.touched_since(last.version)}
        return {index: ref for index, ref in enumerate(last.refs) if index not in stale}

    def _make_part(self, low: int, high: int) -> tuple[int, bytes] | None:
        names, embeddings = anchors.matched(
            self._store, self._settings.matching, low, high, version=self.version
        )
        if not names:
            return None
        people = [(name, len(list(group))) for name, group in itertools.groupby(names)]
        return len(names), write_part(people, embeddings, self.encoding)
