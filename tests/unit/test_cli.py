"""The command line: help, command reference, errors, and the imports of help."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from command_line import COMMANDS
from typer.testing import CliRunner

from facectl.cli.app import app

ROOT = Path(__file__).parents[2]
CLI = ROOT / "facectl" / "cli"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("facectl"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_main_commands_exist() -> None:
    expected = {"demo", "deploy", "destroy", "send", "tail", "purge", "context show"}
    assert {f"facectl {name}" for name in expected} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = COMMANDS[name].help
    assert text, f"{name} has no help"
    assert "Example" in text
    assert name in text, f"the examples of {name} do not show it"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_command_reference(name: str) -> None:
    assert f"\n## {name}\n" in (ROOT / "docs" / "COMMANDS.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    silent = [
        parameter.name
        for parameter in COMMANDS[name].params
        if not getattr(parameter, "help", None) and parameter.name != "help"
    ]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_many_options_are_in_panels(name: str) -> None:
    """A newcomer reads a screen, not a list of forty options."""
    panels = Counter(
        getattr(parameter, "rich_help_panel", None)
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option"
    )
    assert max(panels.values(), default=0) <= 12, panels


@pytest.mark.parametrize("columns", ["80", "120"])
def test_options_are_not_cut_off_in_a_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = []
    for command in ("deploy", "export", "send", "watch", "plan", "bench run"):
        monkeypatch.setenv("COLUMNS", columns)
        text = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
        assert "Usage: " in text
        cut += [(command, line) for line in text.splitlines() if "…" in line]
    assert cut == []


def aliases(file: Path) -> set[str]:
    """The options that a module declares by a name: `Name = Annotated[...]`."""
    return {
        target.id
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Annotated[")
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def test_options_of_several_commands_are_declared_once_and_all_others_inline() -> None:
    declared = {file.name: aliases(file) for file in CLI.rglob("*.py") if aliases(file)}
    assert set(declared) == {"options.py", "deploy_options.py"}
    uses = Counter(
        ast.unparse(node.annotation).removeprefix("shared.")
        for file in CLI.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.arg) and node.annotation is not None
    )
    names = set.union(*declared.values())
    assert {name: uses[name] for name in names if uses[name] < 2} == {}


def test_an_error_has_a_message_a_hint_and_an_exit_code() -> None:
    done = run("context")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "No deployment yet" in done.stderr
    assert "facectl deploy --asu-id ID" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--debug", "context"], ["context", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str]) -> None:
    assert "Traceback" in run(*arguments).stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from facectl.cli import app; "
        "print([m for m in ('cv2', 'numpy', 'onnxruntime', 'torch', 'moto') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.strip() == "[]"


def test_completion_is_offered() -> None:
    assert "--install-completion" in run("--help").stdout
