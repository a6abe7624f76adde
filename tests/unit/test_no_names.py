"""`facectl deploy --no-names`: the option sets log_names of the functions."""

from __future__ import annotations

from facectl.deploy.options import Options
from lambda_src.settings import FunctionSettings


def log_names_of(options: Options) -> bool:
    return FunctionSettings.from_environment(options.environment).log_names


def test_names_are_logged_by_default() -> None:
    assert log_names_of(Options())
    assert log_names_of(Options(log_names=True))
    assert not log_names_of(Options(log_names=False))


def test_the_smallest_face_is_a_setting_of_the_functions() -> None:
    chosen = Options(min_face_size=40, log_names=False)
    settings = FunctionSettings.from_environment(Options().over(chosen).environment)
    assert (settings.min_face_size, settings.log_names) == (40, False)
    assert FunctionSettings.from_environment(Options().environment).min_face_size == 20


def test_a_deployment_keeps_its_log_names_setting() -> None:
    before = Options(log_names=False)
    assert not log_names_of(Options(memory=2048).over(before))
    assert log_names_of(Options(log_names=True).over(before))
