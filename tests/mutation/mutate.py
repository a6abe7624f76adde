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
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toml
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("modules.toml")
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.mp4", "*.egg-info")


@dataclass(frozen=True)
class Tests:
    """The command that tests a module, and the seconds after which a mutant hangs."""

    command: str
    timeout: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="paths of modules.toml; none: all of them")
    parser.add_argument("--sample", type=int, help="mutants per module; 0 takes all")
    parser.add_argument("--seed", type=int, help="another sample of the same size")
    parser.add_argument("--lines", help="only mutants of these lines, for example 40-62")
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
    passed = [mutate(module, config, options.lines, options.jobs) for module in modules]
    return 0 if all(passed) else 1


def mutate(module: str, config: dict[str, Any], lines: str | None, jobs: int) -> bool:
    """Test a sample of the mutants of a module; whether enough of them were killed."""
    session = session_of(module)
    session.parent.mkdir(parents=True, exist_ok=True)
    session.unlink(missing_ok=True)
    began = time.monotonic()
    with use_db(str(session)) as db, copies(jobs) as folders:
        tests = checked_tests(folders[0], module, config["modules"][module]["tests"])
        total, sample = sampled(db, module, config, lines)
        print(
            f"{module}: {len(sample)} of {total} mutants, {tests.timeout:.0f} s each at most",
            flush=True,
        )
        with contextlib.ExitStack() as stack:
            # A worker changes its folder, so each has a pool of its own.
            pools = [
                stack.enter_context(ProcessPoolExecutor(1, initializer=enter, initargs=(folder,)))
                for folder in folders
            ]
            running = [
                (item, pools[n % jobs].submit(tested, item.mutations[0], tests))
                for n, item in enumerate(sample)
            ]
            for item, future in running:
                db.set_result(item.job_id, future.result())
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


def checked_tests(folder: Path, module: str, files: list[str]) -> Tests:
    """The test command of a module; raises SystemExit where its result would say nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += ["--hypothesis-seed=0", *files]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def passes() -> bool:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        output.append(done.stdout)
        return done.returncode == 0

    output: list[str] = []
    began = time.monotonic()
    if not passes():
        raise SystemExit(f"{output[-1]}\nThe tests of {module} fail without any mutant.")
    timeout = 10 + 5 * (time.monotonic() - began)
    source = folder / module
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "\nraise RuntimeError\n", encoding="utf-8")
    if passes():
        raise SystemExit(f"The tests of {module} do not import it from the copy: {files}")
    source.write_text(text, encoding="utf-8")
    return Tests(shlex.join(command), timeout)


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
            and changes(source, original, mutation)
        ):
            places[mutation.start_pos].append(item)
    generator = random.Random(config["seed"])
    ranked: list[tuple[int, float, WorkItem]] = []
    for items in places.values():
        generator.shuffle(items)
        ranked += [(rank, generator.random(), item) for rank, item in enumerate(items)]
    chosen = [item for *_, item in sorted(ranked, key=lambda each: each[:2])]
    sample = chosen[: config["sample"] or None]
    ids = {item.job_id for item in sample}
    db.set_multiple_results(
        [item.job_id for item in db.work_items if item.job_id not in ids],
        WorkResult(worker_outcome=WorkerOutcome.SKIPPED),
    )
    return len(chosen), sample


def order(mutation: MutationSpec) -> tuple[tuple[int, int], str, int]:
    return mutation.start_pos, mutation.operator_name, mutation.occurrence


def annotated(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where type annotations stand: they are not evaluated, so their mutants change nothing."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            found.append(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(node.returns)
    return [
        ((each.lineno, each.col_offset), (each.end_lineno or 0, each.end_col_offset or 0))
        for each in found
        if each is not None
    ]


def changes(source: str, original: str, mutation: MutationSpec) -> bool:
    """Whether a mutant is a program other than `original`, the dump of the source's tree."""
    code = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
    try:
        return code is not None and ast.dump(ast.parse(code)) != original
    except SyntaxError:
        return False


def enter(folder: Path) -> None:
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)


def tested(mutation: MutationSpec, tests: Tests) -> WorkResult:
    return mutate_and_test([mutation], tests.command, tests.timeout)


def report(db: WorkDB, module: str, config: dict[str, Any], seconds: float) -> bool:
    """Print the survivors and the score; whether the score is enough."""
    done = [
        (item.mutations[0], result)
        for item, result in db.completed_work_items
        if result.worker_outcome != WorkerOutcome.SKIPPED
    ]
    broken = [result for _, result in done if result.test_outcome == TestOutcome.INCOMPETENT]
    if broken:
        raise SystemExit(f"{len(broken)} mutants could not be tested:\n{broken[0].output}")
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
