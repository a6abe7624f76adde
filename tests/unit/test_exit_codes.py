"""One table of exit codes for all commands and errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from facectl import errors
from facectl.errors import CloudError, ExitCode, FacectlError, UnansweredError

CLI = Path(errors.__file__).parent / "cli"


def tree(error: type[FacectlError] = FacectlError) -> Iterator[type[FacectlError]]:
    yield error
    for child in error.__subclasses__():
        yield from tree(child)


def test_every_error_has_a_code_and_is_in_the_tree() -> None:
    lines = (line for line in (errors.__doc__ or "").splitlines() if " exit " in line)
    told = {_name(line): int(line.rpartition("exit ")[2]) for line in lines}
    own = {each.__name__: each.exit_code for each in tree() if each.__module__ == errors.__name__}
    assert told == own
    assert all(isinstance(each.exit_code, ExitCode) for each in tree())


def _name(line: str) -> str:
    return line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()[0]


@pytest.mark.parametrize("code", ExitCode)
def test_every_code_has_a_meaning(code: ExitCode) -> None:
    assert code.meaning
    # Code 1 also stands for findings; every other code has an error.
    if code > ExitCode.FOUND:
        assert code in {each.exit_code for each in tree()}


def exits() -> Iterator[tuple[str, str]]:
    """The calls that end a command: file and exit code."""
    for file in sorted(CLI.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.Exit", "sys.exit"}:
                yield str(file.relative_to(CLI)), ", ".join(map(ast.unparse, node.args))


def test_commands_use_only_codes_of_the_table() -> None:
    found = set(exits())
    assert len(found) > 5
    others = {(file, code) for file, code in found if code and not code.startswith("ExitCode.")}
    # The code of a run's report or of an error.
    assert {code for _, code in others} == {"report.exit_code", "error.exit_code"}


def test_every_command_exits_with_1_if_it_found_a_problem() -> None:
    codes = {file: code for file, code in exits() if file not in {"app.py", "send.py"}}
    for file in ("status.py", "doctor.py", "gallery/versions.py", "tail.py"):
        assert codes[file] == "ExitCode.FOUND"
    # An unanswered probe of `deploy` or `doctor` counts like any unanswered frame.
    assert UnansweredError("x").exit_code == ExitCode.FOUND
    assert issubclass(UnansweredError, CloudError)
