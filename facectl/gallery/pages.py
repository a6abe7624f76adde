"""The HTML reports of calibration and evaluation: one file each, without external resources."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from facectl import paths
from facectl.errors import InputError
from facectl.gallery.changes import Reference
from facectl.gallery.charts import Mark, Series, chart, histogram
from facectl.gallery.evaluate import Answer, Evaluation
from facectl.gallery.statistics import Calibration, curve
from facectl.gallery.store import Store

CONFUSIONS = 20
_THUMBNAIL = 200

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --ink: #1d1f21; --soft: #62676d;
  --rule: #dcdfe2; --card: #ffffff; --a: #1f6fb2; --b: #c4541a; --c: #2b8a57; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e6e8ea; --soft: #9aa1a8;
  --rule: #33393f; --card: #1c2024; --a: #6db3ee; --b: #f0935a; --c: #63c795; --warn: #e8b95a; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 74rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.55rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; } .soft { color: var(--soft); }
.warn { color: var(--warn); font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .8rem; margin: 1.4rem 0; }
.figure, .card { background: var(--card); border: 1px solid var(--rule); border-radius: .5rem;
  padding: .8rem 1rem; }
.figure b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: .86rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1rem; }
.card h3 { margin: 0 0 .4rem; font-size: .98rem; }
svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--rule); } .mark { stroke: var(--ink); stroke-dasharray: 4 4; }
.tick { fill: var(--soft); font-size: 12px; } .label { fill: var(--ink); font-size: 13px; }
.line { fill: none; stroke-width: 2.2; } .area { stroke-width: 1.4; fill-opacity: .22; }
.line.a { stroke: var(--a); } .line.b { stroke: var(--b); } .line.c { stroke: var(--c); }
.area.a { stroke: var(--a); fill: var(--a); } .area.b { stroke: var(--b); fill: var(--b); }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: .15em;
  margin-right: .4em; } .swatch.a { background: var(--a); } .swatch.b { background: var(--b); }
.swatch.c { background: var(--c); } .legend { margin: .3rem 0 0; font-size: .88rem; }
.key { margin-right: 1.2rem; white-space: nowrap; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(23rem, 100%), 1fr));
  gap: 1rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .7rem; }
.pair p { grid-column: 1 / -1; } .pair img, .none { width: 100%; aspect-ratio: 1; display: grid;
  place-items: center; object-fit: cover; border-radius: .35rem; background: var(--rule);
  color: var(--soft); font-size: .8rem; text-align: center; }
figure { margin: 0; } figcaption { font-size: .86rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .92rem; } td, th { text-align: left;
  padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
"""

Picture = Callable[[Path], Image.Image | None]


def calibration_page(store: Store, found: Calibration, now: datetime) -> str:
    """The report of `gallery calibrate`."""
    scores, threshold = found.scores, found.chosen.threshold
    thresholds, far, frr = curve(scores)
    top = float(thresholds[-1])
    bins = np.linspace(0, max(top, float(np.percentile(scores.others, 99.5))), 61)
    mark = Mark(threshold, f"threshold {threshold:.3f}")
    x = f"distance ({store.settings.metric})"
    spread = f"{min(found.folds):.3f} to {max(found.folds):.3f}"
    cards = [
        (
            "Distances of pairs",
            chart(
                [
                    histogram(list(scores.own), "the same person", "a", bins),
                    histogram(list(scores.others), "different people", "b", bins),
                ],
                x, "share of pairs", [mark],
            ),
        ),
        (
            "Errors by threshold",
            chart(
                [
                    Series("FAR, false accepts", list(thresholds), list(far), "b"),
                    Series("FRR, false rejects", list(thresholds), list(frr), "a"),
                ],
                x, "rate", [mark, Mark(found.eer_threshold, f"EER {found.eer:.2%}")],
            ),
        ),
        ("ROC", chart([Series("this gallery", list(far), list(1 - frr), "c")],
                      "false accept rate", "true accept rate")),
    ]  # fmt: skip
    figures = [
        (f"{threshold:.3f}", "threshold"),
        (f"{found.validated.far:.3%}", "FAR, cross-validated"),
        (f"{found.validated.frr:.2%}", "FRR, cross-validated"),
        (f"{found.eer:.2%}", "EER"),
        (f"{found.validated.stranger_named:.2%}", "strangers named, cross-validated"),
    ]
    text = (
        f"<p>Picked from {found.genuine:,} genuine and {found.impostor:,} impostor distances of "
        f"this gallery; {len(found.folds)} folds by person picked {spread}. FAR is of single "
        "comparisons; a stranger is compared with everyone, which the last figure counts.</p>"
    )
    return _page("Calibration of the gallery", store, now, _figures(figures) + text + _cards(cards))


def evaluation_page(store: Store, found: Evaluation, picture: Picture, now: datetime) -> str:
    """The report of `gallery evaluate`; `picture` gives the face of a photograph."""
    facts = found.facts()
    words = {
        "rank_1": "rank-1",
        "rank_5": "rank-5",
        "named_rightly": "named correctly",
        "unknown_rate": "enrolled people answered Unknown",
        "misnamed": "enrolled people given another's name",
        "strangers_named": "strangers given a name",
    }
    figures = [
        ("-" if facts[key] is None else f"{facts[key]:.1%}", word) for key, word in words.items()
    ]
    text = (
        f"<p>{facts['known']} photographs of people who are enrolled, {facts['strangers']} of "
        f"others, at threshold {found.threshold:.3f}. Left out: {facts['unusable']} without a "
        f"usable face, {facts['enrolled_themselves']} that are enrolled themselves.</p>"
    )
    false, right = found.roc()
    cards = []
    own = [answer.own for answer in found.known if answer.own is not None]
    others = [answer.other[1] for answer in found.answers if answer.other is not None]
    if len(false):
        cards.append(("ROC", chart([Series("this gallery", list(false), list(right), "c")],
                                   "false accept rate", "true accept rate")))  # fmt: skip
    if own or others:
        bins = np.linspace(0, max([*own, *others, found.threshold]) * 1.05, 41)
        parts = [histogram(own, "to the right person", "a", bins)] if own else []
        parts += [histogram(others, "to the nearest other", "b", bins)] if others else []
        cards.append(
            (
                "Distances",
                chart(
                    parts, f"distance ({store.settings.metric})", "share of photographs",
                    [Mark(found.threshold, f"threshold {found.threshold:.3f}")],
                ),
            )
        )  # fmt: skip
    body = _figures(figures) + text + _cards(cards)
    body += _confusions(store, found.confusions(CONFUSIONS), picture)
    return _page("Evaluation of the gallery", store, now, body + _unusable(found))


def write(file: Path, page: str) -> None:
    """Write a report; raises InputError."""
    try:
        with paths.atomic_write(file, mode=0o600) as stream:
            stream.write(page.encode())
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}") from error


def _page(title: str, store: Store, now: datetime, body: str) -> str:
    synthetic = (
        '<p class="warn">Synthetic weights: this model was never trained, so these figures say '
        "nothing about faces.</p>"
        if store.synthetic
        else ""
    )
    settings = store.settings
    people = store.people()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="soft">Version {store.version}, {len(people):,} people, '
        f"{sum(people.values()):,} photographs, {escape(settings.metric)} distance, "
        f"{escape(settings.matching)} matching, {now:%Y-%m-%d %H:%M}</p>{synthetic}{body}"
        "</body></html>\n"
    )


def _figures(figures: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(word)}</span></div>'
        for value, word in figures
    )
    return f'<div class="figures">{items}</div>'


def _cards(cards: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f'<section class="card"><h3>{escape(title)}</h3>{svg}</section>' for title, svg in cards
    )
    return f'<div class="charts">{items}</div>'


def _confusions(store: Store, answers: Sequence[Answer], picture: Picture) -> str:
    if not answers:
        return "<h2>Worst confusions</h2><p>None.</p>"
    pairs = []
    for answer in answers:
        name, distance = answer.other or ("", 0.0)
        references = [reference for reference in store.references(name) if reference.source]
        # The enrolled photograph that is nearest to the probe.
        taken_for = max(references, key=partial(_likeness, answer), default=None)
        source = None if taken_for is None else Path(str(taken_for.source))
        own = "a stranger" if answer.own is None else f"{answer.own:.3f} from the right one"
        pairs.append(
            '<div class="card pair">'
            + _figure(picture(answer.task.photo), answer.task.name, str(answer.task.photo))
            + _figure(None if source is None else picture(source), name, str(source or ""))
            + f"<p>{distance:.3f} from {escape(name)}, {own}; answered "
            f"<b>{escape(answer.answer)}</b></p></div>"
        )
    return f'<h2>Worst confusions</h2><div class="pairs">{"".join(pairs)}</div>'


def _likeness(answer: Answer, reference: Reference) -> float:
    return float(reference.embedding @ answer.embedding)


def _figure(image: Image.Image | None, name: str, source: str) -> str:
    shown = '<div class="none">no picture<br>on this computer</div>'
    if image is not None:
        stream = io.BytesIO()
        small = ImageOps.fit(image.convert("RGB"), (_THUMBNAIL, _THUMBNAIL))
        small.save(stream, "JPEG", quality=82)
        data = base64.b64encode(stream.getvalue()).decode()
        shown = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return (
        f'<figure>{shown}<figcaption><b>{escape(name)}</b><br><span class="soft">'
        f"{escape(source)}</span></figcaption></figure>"
    )


def _unusable(found: Evaluation) -> str:
    if not found.unusable:
        return ""
    rows = "".join(
        f"<tr><td>{escape(str(file))}</td><td>{escape(why)}</td></tr>"
        for file, why in list(found.unusable.items())[:200]
    )
    return f"<h2>Photographs without an answer</h2><table>{rows}</table>"
