"""`facectl gallery`: the commands for the people whom the pipeline recognizes."""

from __future__ import annotations

import typer

from facectl.cli.gallery import enroll, exchange, people, rebuild, tune, versions

app = typer.Typer(
    no_args_is_help=True, help="People whom the pipeline recognizes: enroll, list, calibrate."
)

app.command("enroll")(enroll.enroll)
app.command("list")(people.list_)
app.command("show")(people.show)
app.command("remove")(people.remove)
app.command("rename")(people.rename)
app.command("merge")(people.merge)
app.command("import")(exchange.import_)
app.command("export")(exchange.export)
app.command("history")(versions.history)
app.command("diff")(versions.diff)
app.command("rollback")(versions.rollback)
app.command("rebuild")(rebuild.rebuild)
app.command("settings")(tune.settings)
app.command("calibrate")(tune.calibrate)
app.command("evaluate")(tune.evaluate)
app.command("publish")(versions.publish)
app.command("status")(versions.status)
