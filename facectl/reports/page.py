"""Renders the HTML reports: one file each, without scripts and external resources."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from facectl.console import printable

# The browser refuses everything else; `data:` is for pictures inside the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(template: str, **data: object) -> str:
    """Fill a template of `facectl/reports/templates`; all text is escaped."""
    environment = Environment(
        loader=PackageLoader("facectl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(policy=_POLICY, **data)


def _shown(value: object) -> object:
    """The text of a value without unprintable characters; HTML stays as it is."""
    return value if hasattr(value, "__html__") else printable(str(value))
