"""`facectl watch` in a real browser: a real local cloud, learned weights, the demo's clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import running_browser
from driver import TEST_CACHE, Facectl, casia_webface, free_port
from watching import Page, Watching, opened_page, watching

from facectl.demo import clip, people
from facectl.demo.people import COLLINS, HOPPER, OBAMA

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("axe_playwright_python", reason="axe is not installed")

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ASU_ID = "watch"
SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facectl]:
    """The command with learned weights deployed, and the demo's people enrolled."""
    casia_webface()
    home = tmp_path_factory.mktemp("home")
    (home / "cache").symlink_to(TEST_CACHE / "cache")
    facectl = Facectl(home)
    facectl("models", "build", "--weights", "casia-webface")
    facectl("local", "up", "--port", free_port())
    try:
        facectl("deploy", "--asu-id", ASU_ID, "--target", "local")
        files = people.write_enrolled(home / "people")
        for name, file in files.items():
            facectl("gallery", "enroll", name, file)
        clip.write(home / "clip.mp4")
        # The functions notice the new gallery within their refresh interval.
        while OBAMA not in facectl("send", home / "clip.mp4", "--max-faces", 5).stdout:
            pass
        yield facectl
    finally:
        facectl("local", "down", expect=None)


@pytest.fixture(scope="module")
def looping(cloud: Facectl) -> Iterator[Watching]:
    """`watch` with the clip in a loop."""
    with watching(
        # Four frames a second: a busy computer keeps up.
        cloud.environment(),
        cloud.home / "clip.mp4",
        "--loop",
        "--keep-strangers",
        "--fps",
        4,
    ) as watch:
        yield watch


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_boxes_names_and_people_are_seen(
    looping: Watching, browser: Any, width: int, scheme: str
) -> None:
    with opened_page(browser, looping.url, width, scheme) as page:
        for name in (COLLINS, OBAMA, "Unknown"):
            page.wait_for_box(name)
        assert "token" not in page.page.url
        came = page.page.locator("#came")
        for name in (COLLINS, OBAMA):
            row = came.locator("summary", has_text=name)
            row.wait_for()
            row.locator("img").wait_for()
        page.page.locator("#came-note", has_text="without --visits FILE").wait_for()
        group = page.page.locator(".group").first
        group.wait_for()
        page.wait("document.querySelector('.group img').naturalWidth > 0")
        page.wait("document.querySelector('#rate').textContent.match(/[0-9]/) !== null")
        page.wait("document.querySelector('#month').textContent.startsWith('$')")
        page.wait("document.querySelector('#dead-letters').textContent === '0'")
        page.wait("document.querySelectorAll('#stages li').length >= 4")
        # Every box is inside the picture, and its label can be read.
        page.wait("document.querySelector('.box') !== null")
        inside = page.page.evaluate(
            """() => [...document.querySelectorAll('.box')].every(box => {
                 const [a, b] = [box, box.closest('.picture')].map(e => e.getBoundingClientRect());
                 return a.left >= b.left - 3 && a.right <= b.right + 3 && a.width > 10;
               })"""
        )
        assert inside
        assert page.violations() == []


def focus_stranger(page: Page) -> None:
    """Reach the first stranger with the Tab key."""
    page.page.locator(".group").first.wait_for()
    page.tab_to(".group")


def test_a_stranger_is_named_and_the_name_taken_back_by_keyboard(
    looping: Watching, browser: Any
) -> None:
    with opened_page(browser, looping.url) as page:
        focus_stranger(page)
        page.page.keyboard.press("n")
        page.wait("document.activeElement.matches('.naming input')")
        assert page.violations() == []
        page.page.keyboard.type(HOPPER)
        page.page.keyboard.press("Enter")
        page.page.locator("#toast", has_text=f"is {HOPPER}").wait_for()
        # The visits that were, the stream within seconds, and the next visit.
        page.page.locator("#came summary", has_text=HOPPER).wait_for()
        page.wait_for_box(HOPPER)
        page.page.locator("#here", has_text=HOPPER).wait_for()
        page.wait("document.querySelectorAll('.group').length === 0")
        page.page.locator("#toast button", has_text="Undo").focus()
        page.page.keyboard.press("Enter")
        page.page.locator(".group").first.wait_for()
        page.wait_for_box("Unknown")


def test_a_wrong_name_is_corrected(looping: Watching, browser: Any) -> None:
    with opened_page(browser, looping.url) as page:
        row = page.page.locator("#came > li", has_text=OBAMA)
        row.locator("summary").wait_for()
        page.page.locator("#came > li summary", has_text=OBAMA).focus()
        page.page.keyboard.press("Enter")
        row.locator("button", has_text="Correct").first.focus()
        page.page.keyboard.press("Enter")
        dialog = page.page.locator("#correct")
        dialog.wait_for()
        assert page.violations() == []
        dialog.locator("button", has_text=f"Not {OBAMA}").press("Enter")
        page.page.locator("#toast", has_text="Undo").wait_for()
        # The frame with both of them shows it.
        page.wait(
            """() => {
                 const names = [...document.querySelectorAll('.box')].map(box => box.textContent);
                 return names.length === 2 && names.includes('Eileen Collins')
                   && names.includes('Unknown');
               }"""
        )
        page.page.locator("#toast button", has_text="Undo").press("Enter")
        page.wait_for_box(OBAMA)


def test_an_ignored_stranger_does_not_come_up_again(looping: Watching, browser: Any) -> None:
    with opened_page(browser, looping.url, 390, "dark") as page:
        focus_stranger(page)
        # There may be others: whoever was corrected was a stranger for a while.
        for _ in range(page.page.locator(".group").count()):
            if not page.page.evaluate("document.activeElement.dataset.key === 's-1'"):
                page.page.keyboard.press("ArrowDown")
        page.wait("document.activeElement.dataset.key === 's-1'")
        page.page.keyboard.press("i")
        page.page.locator("#toast", has_text="s-1 is ignored").wait_for()
        page.wait("document.querySelector('[data-key=s-1].group') === null")
        others = page.page.locator(".group").count()
        for _ in range(2):
            page.wait_for_box(COLLINS)
            page.wait_for_box("Unknown")
        assert page.page.locator(".group").count() == others


def test_the_cloud_is_lost_and_comes_back(cloud: Facectl, looping: Watching, browser: Any) -> None:
    with opened_page(browser, looping.url) as page:
        page.wait_for_box(COLLINS)
        cloud("local", "down")
        try:
            notice = page.page.locator("#notices", has_text="The cloud does not answer")
            notice.wait_for()
            page.page.locator(".source .badge", has_text="Waits").wait_for()
            assert page.violations() == []
        finally:
            cloud("local", "up")
        notice.wait_for(state="hidden")
        page.wait_for_box(OBAMA)
        page.wait_for_box(COLLINS)
        assert looping.process.poll() is None


def test_a_file_is_gone_through_after_its_end(cloud: Facectl, browser: Any) -> None:
    with watching(cloud.environment(), cloud.home / "clip.mp4") as watch:
        with opened_page(browser, watch.url) as page:
            go_through(page)
        page = Page(browser, watch.url)
        page.page.locator("#connection", has_text="Connected").wait_for()
        assert watch.stop() == 0
        page.page.locator("#notices", has_text="facectl watch does not answer").wait_for()
        page.close()
    assert any("60 sent, 60 answered" in line for line in watch.lines)


def go_through(page: Page) -> None:
    """Go back to the beginning of the clip, to a visit, and to the newest frame, by keyboard."""
    page.page.locator(".badge", has_text="Ended").wait_for()
    page.page.locator(".sentence", has_text="60 frames sent, 60 answered.").wait_for()
    assert page.page.locator("#here li").count() == 0
    page.page.locator("#strangers", has_text="--keep-strangers").wait_for()
    page.wait("document.querySelector('.source').dataset.frame === '59'")
    page.tab_to("input[type=range]")
    page.page.keyboard.press("Home")
    page.wait("document.querySelector('.source').dataset.frame === '0'")
    page.wait_for_box(COLLINS)
    page.page.keyboard.press("ArrowRight")
    page.wait("document.querySelector('.source').dataset.frame === '1'")
    assert page.page.locator(".timeline output").text_content() == "0:00 / 0:06"
    # To the visit that begins when both are in the picture.
    page.page.locator("#came > li summary", has_text=COLLINS).press("Enter")
    page.page.locator("#came > li", has_text=COLLINS).locator(".link").first.press("Enter")
    page.wait_for_box(OBAMA)
    page.wait_for_box(COLLINS)
    page.page.locator(".timeline button", has_text="Newest").press("Enter")
    page.wait("document.querySelector('.source').dataset.frame === '59'")


def test_several_sources_are_watched_at_once(cloud: Facectl, browser: Any, tmp_path: Path) -> None:
    videos = [cloud.home / "clip.mp4", clip.write(tmp_path / "second.mp4")]
    path = tmp_path / "visits.jsonl"
    with watching(cloud.environment(), *videos, "--visits", path) as watch:
        with opened_page(browser, watch.url) as page:
            page.wait("document.querySelectorAll('.source[data-frame=\"59\"]').length === 2")
            row = page.page.locator("#came > li", has_text=OBAMA)
            row.locator("summary", has_text="2 visits").wait_for()
            assert page.violations() == []
        assert watch.stop() == 0
    sources = {line.split('"source": "')[1].split('"')[0] for line in path.read_text().splitlines()}
    assert sources == {str(video) for video in videos}
