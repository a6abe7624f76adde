"""Helpers of the gallery's commands: opening, publishing, reporting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

from facectl.console import err, note, print_json, say, warn
from facectl.context import Deployment
from facectl.errors import CloudError

if TYPE_CHECKING:
    from facectl.gallery.store import Store
    from lambda_src.gallery.parts import Manifest


def opened(deployment: Deployment) -> AbstractContextManager[Store]:
    """Open the deployment's gallery on this computer; the context closes it."""
    from facectl.gallery.store import Store

    return closing(Store.open(deployment.asu_id))


def publish_change(deployment: Deployment, store: Store, **options: Any) -> Manifest:
    """Publish the newest version; if it fails, print the command that publishes it."""
    from facectl.aws import Clients
    from facectl.gallery import publish

    columns = (TextColumn("Publishing"), BarColumn(), DownloadColumn())
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=None)
            manifest = publish.publish(
                Clients(deployment),
                store,
                progress=lambda size: bar.advance(task, size),
                **options,
            )
    except CloudError:
        note(
            f"Version {store.version} is stored on this computer, but not published.  "
            "Later: facectl gallery publish"
        )
        raise
    finally:
        warn_pending(store)
    return manifest


def warn_pending(store: Store) -> None:
    """Warn about buckets that may still contain people whom `remove --forget` deleted."""
    from facectl.gallery import forgetting

    for each in forgetting.pending(store):
        warn(each.warning)


@contextmanager
def counted(text: str, total: int) -> Iterator[Any]:
    """Show a progress bar on stderr; yields a function that advances it by one."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def report(store: Store, done: str, *, json: bool, **facts: Any) -> None:
    """Print what a change did, and the number of people or the JSON facts."""
    people = store.people()
    if json:
        print_json({**facts, "version": store.version, **facts_of(store, people)})
        return
    say(f"{done} {len(people)} people in the gallery.")
    warn_synthetic(store)


def facts_of(store: Store, people: dict[str, int]) -> dict[str, Any]:
    """The gallery for JSON."""
    from facectl.gallery import anchors

    settings = store.settings
    return {
        "space": store.space,
        "synthetic": store.synthetic,
        "threshold": settings.threshold,
        "metric": settings.metric,
        "matching": settings.matching,
        "people": [{"name": name, "photographs": count} for name, count in people.items()],
        "ignored": len(anchors.counts(store)),
    }


def warn_synthetic(store: Store) -> None:
    """Warn if the weights are untrained, so that names mean nothing."""
    if store.synthetic:
        warn("Synthetic weights: the model is untrained, so these names mean nothing.")
