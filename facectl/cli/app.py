"""The root command: global options and the output of errors."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.markup import escape

from facectl.cli import bench as bench_command
from facectl.cli import context as context_command
from facectl.cli import demo as demo_command
from facectl.cli import deploy as deploy_command
from facectl.cli import destroy as destroy_command
from facectl.cli import dlq as dlq_command
from facectl.cli import doctor as doctor_command
from facectl.cli import edge as edge_command
from facectl.cli import export as export_command
from facectl.cli import gallery as gallery_command
from facectl.cli import local as local_command
from facectl.cli import logs as logs_command
from facectl.cli import models as models_command
from facectl.cli import plan as plan_command
from facectl.cli import policy as policy_command
from facectl.cli import purge as purge_command
from facectl.cli import send as send_command
from facectl.cli import status as status_command
from facectl.cli import strangers as strangers_command
from facectl.cli import tail as tail_command
from facectl.cli import trace as trace_command
from facectl.cli import versions as versions_command
from facectl.cli import watch as watch_command
from facectl.console import err, out
from facectl.errors import FacectlError

app = typer.Typer(
    name="facectl",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo_command.demo)
app.command("deploy")(deploy_command.deploy)
app.command("versions")(versions_command.versions)
app.command("rollback")(versions_command.rollback)
app.command("export")(export_command.export)
app.command("push")(export_command.push)
app.command("destroy")(destroy_command.destroy)
app.command("status")(status_command.status)
app.command("doctor")(doctor_command.doctor)
app.command("policy")(policy_command.policy)
app.command("send")(send_command.send)
app.command("watch")(watch_command.watch)
app.command("tail")(tail_command.tail)
app.command("plan")(plan_command.plan)
app.command("purge")(purge_command.purge)
app.command("trace")(trace_command.trace)
app.add_typer(bench_command.app, name="bench")
app.add_typer(context_command.app, name="context")
app.add_typer(dlq_command.app, name="dlq")
app.add_typer(edge_command.app, name="edge")
app.add_typer(gallery_command.app, name="gallery")
app.add_typer(local_command.app)
app.add_typer(logs_command.app, name="logs")
app.add_typer(models_command.app)
app.add_typer(strangers_command.app, name="strangers")


def _version(requested: bool) -> None:
    if requested:
        out.print(f"facectl {metadata.version('facectl')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Serverless face recognition on AWS Lambda: deploy, stream, measure, watch.

    Try it without an account: [bold]facectl demo[/bold]
    """


def main() -> None:
    """Run the CLI; print a FacectlError as message and hint, and exit with its code."""
    debug = "--debug" in sys.argv
    # Accept --debug anywhere, as in `facectl send --debug`.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, prog_name="facectl")
    except FacectlError as error:
        if debug:
            raise
        # IDs, names and AWS messages may contain Rich markup.
        err.print(f"[red]Error:[/red] {escape(str(error))}", soft_wrap=True)
        if error.hint:
            err.print(f"  Next: [bold]{escape(error.hint)}[/bold]", soft_wrap=True)
        sys.exit(error.exit_code)
