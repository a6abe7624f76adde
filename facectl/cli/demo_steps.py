"""The steps of `facectl demo`, each with its progress on stderr; each equals a command."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from facectl import records
from facectl.cli.models import build_progress
from facectl.console import err, note, out, say, warn
from facectl.context import Deployment, Overrides, resolve
from facectl.demo import clip, people, seen
from facectl.deploy import deployer
from facectl.deploy.deployer import Plan
from facectl.errors import FacectlError
from facectl.gallery import enrollment, rebuild
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import PhotographEncoder
from facectl.local import process
from facectl.local.process import LocalCloud
from facectl.local.state import Restored
from facectl.models import builder
from facectl.naming import DEMO_ASU_ID
from facectl.stream.results import ranges
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions, RunReport, as_taken
from lambda_src.contract import UNKNOWN
from lambda_src.vision.store import Model

Started = tuple[LocalCloud, Restored | None]


def model(weights: str | None) -> Model:
    """The model of these weights, by default the best one that can be had."""
    found = builder.ensure(weights, progress=build_progress())
    note(f"The weights are {found.weights}")
    return found


def demo_deployment(asu_id: str) -> Deployment:
    """The demo's deployment; a recorded deployment of the user is not marked as a demo."""
    deployment = resolve(Overrides(asu_id, "local"))
    demo = asu_id == DEMO_ASU_ID or deployment.demo or records.recall(deployment.key) is None
    return replace(deployment, demo=demo)


@contextmanager
def starting_cloud(port: int | None) -> Iterator[Future[Started]]:
    """Start the local cloud if it is not running, beside what the block does.

    If the block fails, a cloud that was started for it is stopped.
    """
    with ThreadPoolExecutor(1) as pool:
        cloud = pool.submit(process.ensure, port)
        try:
            yield cloud
        except BaseException:
            with suppress(FacectlError):
                _, restored = cloud.result()
                if restored is not None:
                    process.stop()
            raise


def plan(
    deployment: Deployment, chosen: Model, cloud: Future[Started], *, replace_others: bool = False
) -> Plan:
    """Wait for the local cloud, and plan the deployment; raises the errors of both."""
    with err.status("Starting the local cloud"):
        _, restored = cloud.result()
    for problem in restored.problems() if restored is not None else ():
        note(problem)
    with err.status("Reading what is deployed"):
        return deployer.prepare(deployer.located(deployment), chosen, replace_others=replace_others)


def check(plan: Plan) -> Deployment:
    """Record the deployment and wait until both functions answer."""
    with err.status("Waiting until both functions answer"):
        deployment = deployer.finish(plan)
        deployer.check(plan, deployment)
        deployer.record(plan)
    return deployment


def enroll(asu_id: str, chosen: Model, folder: Path) -> None:
    """Enroll the demo's people from their photographs unless they are; does not publish."""
    files = people.write_enrolled(folder)
    _rebuild(asu_id, chosen)
    with err.status(f"Enrolling {' and '.join(files)}"):
        tasks = [enrollment.EnrollmentTask(name, file) for name, file in files.items()]
        enrollment.ensure(asu_id, chosen, tasks)


def _rebuild(asu_id: str, chosen: Model) -> None:
    """Rebuild a gallery of another model; people without photographs stay in older versions."""
    work = rebuild.plan_local(asu_id, EmbeddingSpace.of(chosen))
    if work is None:
        return
    with err.status("Embedding the gallery again for this model"):
        work.embed(lambda: PhotographEncoder(chosen))
        work.commit()
    if work.dropped:
        note(f"Only in older versions, because a photograph is missing: {', '.join(work.dropped)}")


def watch(deployment: Deployment, video: Path, request: RequestOptions, *, opens: bool) -> None:
    """Show the video on a page of `facectl watch`, again and again until Ctrl-C."""
    from facectl.cli import watch_run
    from facectl.cli.stream_options import VisitChoices
    from facectl.watch.runs import WatchOptions

    visits = VisitChoices(keep_strangers=True).outputs(crops=True)
    run = RunOptions(request, schedule=as_taken)
    options = WatchOptions(Sampling(), run, visits, loop=True)
    page = watch_run.Page("127.0.0.1", 0, None, opens)
    watch_run.run(deployment, [str(video)], options, page)


def show_seen(report: RunReport) -> None:
    """Print who is in the clip and in how many of the frames the answer was right."""
    expected = clip.expected()
    results = {o.index: o.answer.result for o in report.stats.first if o.answer is not None}
    table = Table("shown in the clip", "right answer", "frames", "answered so", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for each in seen.compare(clip.people_shown(), expected, results):
        person = each.person or "no face"
        if each.answer == UNKNOWN:
            person += ", not enrolled"
        table.add_row(person, each.answer, str(each.frames), str(each.right))
    out.print()
    out.print(table)
    if report.synthetic:
        warn("Only the frames without a face count here: synthetic weights know nobody.")
    elif wrong := seen.wrong(expected, results):
        warn(f"{len(wrong)} of {len(expected)} frames were answered otherwise: {ranges(wrong)}")
    else:
        say(f"All {len(expected)} frames were answered rightly.")
