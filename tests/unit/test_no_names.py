"""`facectl deploy --no-names`: from the option to the functions' setting."""

from __future__ import annotations

from facectl.deploy.options import Options
from lambda_src.settings import FunctionSettings


def told(options: Options) -> bool:
    return FunctionSettings.from_environment(options.environment).log_names


def test_names_are_logged_unless_it_is_said() -> None:
    assert told(Options())
    assert told(Options(log_names=True))
    assert not told(Options(log_names=False))


def test_what_was_said_once_stays_said() -> None:
    before = Options(log_names=False)
    assert not told(Options(memory=2048).over(before))
    assert told(Options(log_names=True).over(before))
