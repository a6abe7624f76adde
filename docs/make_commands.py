"""Write docs/COMMANDS.md from the command line's own help: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from facectl.cli.app import app
from facectl.errors import ExitCode

FILE = Path(__file__).with_name("COMMANDS.md")

_HEAD = """\
# Commands

Written by `make docs` from the help texts. Change those, not this file.

Results go to stdout, everything else to stderr; `--json` prints JSON for programs.
`facectl --install-completion` installs completion for your shell.
"""
_DEPLOYMENT = """\
## Deployment options

Every command that talks to a deployment has these options. Without them it uses the current
deployment (`facectl context show`).
"""
_PANEL = "Deployment"


def text() -> str:
    """The whole of docs/COMMANDS.md."""
    found = list(_commands(typer.main.get_command(app), "facectl"))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {_cell(_summary(each))} |" for name, each in found]
    codes = [f"| {code.value} | {_cell(code.meaning)} |" for code in ExitCode]
    shared = {
        record[0]: _item(*record) for name, each in found for record in _records(name, each, _PANEL)
    }
    sections = [
        _HEAD,
        _table("| command | what it does |", rows),
        "## Exit codes\n",
        _table("| exit code | meaning |", codes),
        _DEPLOYMENT,
        "\n".join(shared.values()) + "\n",
        *(_section(name, each) for name, each in found),
    ]
    return "\n".join(sections)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The full name and the command of each runnable command; a group that runs comes first."""
    children = getattr(command, "commands", None)
    if children is None or getattr(command, "invoke_without_command", False):
        yield name, command
    for child, each in (children or {}).items():
        yield from _commands(each, f"{name} {child}")


def _section(name: str, command: Any) -> str:
    about, *found = re.split(r"\[bold\]Examples?\[/bold\]", command.help)
    examples = "".join(found)
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    usage = " ".join(command.collect_usage_pieces(_context(name, command)))
    items = [_item(*record) for record in _records(name, command, None)]
    if _records(name, command, _PANEL):
        items.append("* the [deployment options](#deployment-options)")
    parts = [
        f"## {name}\n",
        _plain(about).strip() + "\n",
        f"```console\n$ {name} {usage}\n```\n",
        "\n".join(items) + "\n" if items else "",
        "Examples:\n\n```console\n" + "".join(f"$ {line}\n" for line in lines) + "```\n"
        if lines
        else "",
    ]
    return "\n".join(part for part in parts if part)


def _records(name: str, command: Any, panel: str | None) -> list[tuple[str, str]]:
    """Names and help of a command's parameters: the deployment's, or (None) all others."""
    context = _context(name, command)
    return [
        record
        for each in command.get_params(context)
        if (getattr(each, "rich_help_panel", None) == _PANEL) == (panel == _PANEL)
        and each.name != "help"
        and (record := each.get_help_record(context)) is not None
    ]


def _context(name: str, command: Any) -> typer.Context:
    return typer.Context(command, info_name=name)


def _item(names: str, about: str) -> str:
    return f"* `{names}`: {_plain(about)}"


def _summary(command: Any) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join(_plain(command.help).split("\n\n")[0].split())


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([head, "|---|---|", *rows]) + "\n"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _plain(words: str) -> str:
    """Help without Rich's tags and escapes; other brackets stay."""
    return re.sub(r"\[/?(?:bold|dim|italic)\]", "", words).replace("\\[", "[")


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
