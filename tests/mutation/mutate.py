"""Mutation testing of one module with Cosmic Ray: `mutate.py lambda_src/contract.py`.

`modules.toml` names the tests of each module. A seeded sample of the mutants is tested,
one of every place in the source before a second of any. Mutants are written into
temporary copies of the project, never into the project. The exit code is 1 where fewer
are killed than `least` per cent; `build/mutation` keeps Cosmic Ray's session and the survivors.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
import toml
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("modules.toml")
# What pytest prints, in a copy.
OUTPUT = "pytest-output.txt"
SKIPPED = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.mp4", "*.egg-info")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="paths of modules.toml; none: all of them")
    parser.add_argument("--sample", type=int, help="mutants per module; 0 takes all")
    parser.add_argument("--seed", type=int, help="another sample of the same size")
    parser.add_argument("--lines", help="only mutants of these lines, for example 40-62")
    parser.add_argument("--seconds", type=float, help="begin no mutant after so many seconds")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    os.chdir(ROOT)
    config = toml.loads(CONFIG.read_text(encoding="utf-8"))
    for name in ("sample", "seed"):
        if getattr(options, name) is not None:
            config[name] = getattr(options, name)
    modules = options.modules or list(config["modules"])
    unknown = [module for module in modules if module not in config["modules"]]
    if unknown:
        parser.error(f"not in {CONFIG.relative_to(ROOT)}: {', '.join(unknown)}")
    passed = [mutate(module, config, options) for module in modules]
    return 0 if all(passed) else 1


def mutate(module: str, config: dict[str, Any], options: argparse.Namespace) -> bool:
    """Test a sample of the mutants of a module; whether enough of them were killed."""
    jobs, seconds = options.jobs, options.seconds
    session = session_of(module)
    session.parent.mkdir(parents=True, exist_ok=True)
    session.unlink(missing_ok=True)
    began = time.monotonic()
    with use_db(str(session)) as db, copies(jobs) as folders, contextlib.ExitStack() as stack:
        # A worker changes its folder, so each has a pool of its own.
        pools = [
            stack.enter_context(
                ProcessPoolExecutor(1, initializer=enter, initargs=(folder, config["preload"]))
            )
            for folder in folders
        ]
        arguments = ["-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        arguments += config["modules"][module]["tests"]
        timeout = pools[0].submit(checked, module, arguments).result()
        total, sample = sampled(db, module, config, options.lines)
        limit = f"{timeout:.0f} s each at most"
        print(f"{module}: {len(sample)} of {total} mutants, {limit}", flush=True)
        running = [
            (item, pools[n % jobs].submit(tested, item.mutations[0], arguments, timeout))
            for n, item in enumerate(sample)
        ]
        try:
            for item, future in running:
                if seconds is not None and time.monotonic() - began > seconds:
                    # All that wait: a pool has begun the next one before it is looked at here.
                    for _, waiting in running:
                        waiting.cancel()
                db.set_result(item.job_id, SKIPPED if future.cancelled() else future.result())
        except KeyboardInterrupt:
            print("Interrupted: what was tested until now", flush=True)
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
        return report(db, module, config, time.monotonic() - began)


def session_of(module: str) -> Path:
    return ROOT / "build" / "mutation" / (module.replace("/", "-") + ".sqlite")


@contextlib.contextmanager
def copies(count: int) -> Iterator[list[Path]]:
    """Copies of the project in a temporary folder, compiled once."""
    with tempfile.TemporaryDirectory(prefix="facectl-mutation-") as temporary:
        folders = [Path(temporary) / str(n) for n in range(count)]
        for folder in folders:
            shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
            packages = ["facectl", "lambda_src", "tests"]
            subprocess.run(
                [sys.executable, "-m", "compileall", "-q", *packages], cwd=folder, check=True
            )
        yield folders


def enter(folder: Path, preload: list[str]) -> None:
    """Make this process test the copy in `folder`, with what all tests import imported."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    for name in preload:
        importlib.import_module(name)


def exit_code(arguments: list[str], timeout: float) -> int | None:
    """The exit code of pytest in a fork of this process, None after so many seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            code = int(pytest.main(arguments))
            sys.stdout.flush()
        finally:
            os._exit(code)
    end = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)


def checked(module: str, arguments: list[str]) -> float:
    """The seconds after which a mutant hangs; SystemExit where the tests would say nothing."""
    began = time.monotonic()
    if exit_code(arguments, 600) != 0:
        output = Path(OUTPUT).read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{output}\nThe tests of {module} fail without any mutant.")
    timeout = 10 + 5 * (time.monotonic() - began)
    source = Path(module)
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "\nraise RuntimeError\n", encoding="utf-8")
    if exit_code(arguments, 600) == 0:
        raise SystemExit(f"The tests of {module} do not import it: {' '.join(arguments)}")
    source.write_text(text, encoding="utf-8")
    return timeout


def tested(mutation: MutationSpec, arguments: list[str], timeout: float) -> WorkResult:
    """Whether the tests of this process' copy kill a mutant; it hangs: killed."""
    operator = get_operator(mutation.operator_name)()
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
        survived = exit_code(arguments, timeout) == 0
    return WorkResult(
        worker_outcome=WorkerOutcome.NORMAL,
        test_outcome=TestOutcome.SURVIVED if survived else TestOutcome.KILLED,
        diff="\n".join(unified_diff(before.split("\n"), after.split("\n"), lineterm="")),
    )


def sampled(
    db: WorkDB, module: str, config: dict[str, Any], lines: str | None
) -> tuple[int, list[WorkItem]]:
    """How many mutants there are, and those to test; the rest is skipped in the session."""
    init([Path(module)], db, {})
    source = Path(module).read_text(encoding="utf-8")
    wanted = re.compile("|".join(f"(?:{each})" for each in config["operators"]))
    first, last = (int(each) for each in lines.split("-")) if lines else (1, sys.maxsize)
    annotations, original = annotated(source), ast.dump(ast.parse(source))
    places: dict[tuple[int, int], list[WorkItem]] = defaultdict(list)
    for item in sorted(db.work_items, key=lambda each: order(each.mutations[0])):
        mutation = item.mutations[0]
        if (
            wanted.fullmatch(mutation.operator_name)
            and first <= mutation.start_pos[0] <= last
            and not any(start <= mutation.start_pos < end for start, end in annotations)
        ):
            places[mutation.start_pos].append(item)
    generator = random.Random(config["seed"])
    ranked: list[tuple[int, float, WorkItem]] = []
    for items in places.values():
        generator.shuffle(items)
        ranked += [(rank, generator.random(), item) for rank, item in enumerate(items)]
    size = config["sample"] or len(ranked)
    sample: list[WorkItem] = []
    for *_, item in sorted(ranked, key=lambda each: each[:2]):
        if len(sample) < size and changes(source, original, item.mutations[0]):
            sample.append(item)
    ids = {item.job_id for item in sample}
    db.set_multiple_results(
        [item.job_id for item in db.work_items if item.job_id not in ids],
        SKIPPED,
    )
    return len(ranked), sample


def order(mutation: MutationSpec) -> tuple[tuple[int, int], str, int]:
    return mutation.start_pos, mutation.operator_name, mutation.occurrence


def annotated(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where type annotations stand, and `frozen` and `slots` of dataclasses.

    Annotations are not evaluated, and the others only forbid what mypy finds too: no test can
    notice their mutants.
    """
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            found.append(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(node.returns)
        elif isinstance(node, ast.keyword) and node.arg in {"frozen", "slots"}:
            found.append(node.value)
    return [
        ((each.lineno, each.col_offset), (each.end_lineno or 0, each.end_col_offset or 0))
        for each in found
        if each is not None
    ]


def changes(source: str, original: str, mutation: MutationSpec) -> bool:
    """Whether a mutant is a program other than `original`, the dump of the source's tree."""
    code = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
    try:
        tree = ast.parse(code or source)
    except SyntaxError:
        return False
    # Cosmic Ray takes the `*` between parameters for a product.
    return ast.dump(tree) != original and not any(
        isinstance(node, ast.arguments) and node.posonlyargs for node in ast.walk(tree)
    )


def report(db: WorkDB, module: str, config: dict[str, Any], seconds: float) -> bool:
    """Print the survivors and the score; whether the score is enough."""
    done = [
        (item.mutations[0], result)
        for item, result in db.completed_work_items
        if result.worker_outcome != WorkerOutcome.SKIPPED
    ]
    reasons = {
        each["becomes"]: each["why"] for each in config["modules"][module].get("equivalent", [])
    }
    survivors, explained = [], 0
    for mutation, result in sorted(done, key=lambda each: order(each[0])):
        if result.test_outcome != TestOutcome.SURVIVED:
            continue
        before, after = changed_lines(result.diff or "")
        why = reasons.get(after)
        explained += why is not None
        survivors.append(
            f"{module}:{mutation.start_pos[0]} {mutation.operator_name}\n  - {before}\n  + {after}"
            + (f"\n    equivalent: {why}" if why else "")
        )
    killed = len(done) - len(survivors)
    score = 100 * killed / max(1, len(done))
    summary = (
        f"{module}: {killed} of {len(done)} mutants killed, {score:.1f} % "
        f"({explained} of {len(survivors)} survivors are explained), {seconds:.0f} s"
    )
    text = "\n".join([*survivors, summary])
    session_of(module).with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)
    return score >= config["least"]


def changed_lines(diff: str) -> tuple[str, str]:
    """The line of a mutant's diff before and after, without its indentation."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    return (
        " ".join(line[1:].strip() for line in lines if line.startswith("-")),
        " ".join(line[1:].strip() for line in lines if line.startswith("+")),
    )


if __name__ == "__main__":
    sys.exit(main())
