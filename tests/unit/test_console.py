"""Text on the terminal is printed as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from facectl import console


@pytest.mark.parametrize("printed", [console.say, console.note, console.warn])
@pytest.mark.parametrize("text", ["a:smile:.jpg", "[bold]Ada[/bold]", "x" * 300])
def test_text_is_printed_unchanged(
    printed: Callable[[str], None], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(text)

    streams = capsys.readouterr()
    assert streams.out + streams.err == f"{text}\n"


def test_fields_are_printed_unchanged_and_none_is_a_dash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"https://{'x' * 100}/"
    console.print_fields([("sent_at", "a:smile:[b]"), ("failed_at", None), ("url", url)])

    lines = capsys.readouterr().out.splitlines()
    assert lines == ["sent at    a:smile:[b]", "failed at  -", f"url        {url}"]
