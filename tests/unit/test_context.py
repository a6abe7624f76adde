"""Which deployment the commands talk to, and how it is remembered."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from facectl import context, paths
from facectl.context import Deployment, Overrides, recall, remember, resolve
from facectl.errors import InputError
from facectl.naming import Names

LOCAL = Deployment("alice", "local", endpoint_url="http://127.0.0.1:4566", function_url="http://u")


def test_without_a_deployment_the_error_says_how_to_make_one() -> None:
    with pytest.raises(InputError, match="No deployment yet") as caught:
        resolve(Overrides())
    assert caught.value.hint is not None
    assert "facectl deploy" in caught.value.hint


def test_the_last_remembered_is_current() -> None:
    remember(Deployment("bob", "aws"))
    remember(LOCAL)
    assert resolve(Overrides()) == LOCAL
    assert resolve(Overrides(asu_id="bob")) == Deployment("bob", "aws")


def test_flags_override_what_is_remembered() -> None:
    remember(LOCAL)
    changed = resolve(Overrides(region="eu-west-1", endpoint_url="http://127.0.0.1:9"))
    assert (changed.region, changed.endpoint_url) == ("eu-west-1", "http://127.0.0.1:9")
    assert changed.function_url == "http://u"


def test_another_target_shares_nothing_with_the_remembered_one() -> None:
    remember(LOCAL)
    assert resolve(Overrides(target="aws")) == Deployment("alice", "aws")


def test_a_named_deployment_need_not_be_remembered() -> None:
    assert resolve(Overrides(asu_id="carol", profile="p")) == Deployment(
        "carol", "aws", profile="p"
    )


def test_forgetting_the_current_one_leaves_none() -> None:
    remember(LOCAL)
    context.forget("alice")
    assert recall() is None
    assert recall("alice") is None


def test_a_damaged_file_is_named_with_what_to_do() -> None:
    file = remember(LOCAL)
    file.write_text("{")
    with pytest.raises(InputError, match=r"alice\.json is damaged"):
        resolve(Overrides())


def test_a_file_of_a_later_version_is_read() -> None:
    file = remember(LOCAL)
    file.write_text(file.read_text().replace("{", '{"added_later": 1,', 1))
    assert recall() == LOCAL


def test_the_file_is_its_owners_alone() -> None:
    assert stat.S_IMODE(remember(LOCAL).stat().st_mode) == 0o600


@pytest.mark.parametrize("asu_id", ["", "a b", "ä", "-a", "x" * 25, "a/b", "a.fifo", "a\n"])
def test_an_id_that_cannot_name_a_queue_is_refused(asu_id: str) -> None:
    with pytest.raises(InputError, match="can't name a queue"):
        Names(asu_id)


def test_names_are_the_contracts() -> None:
    names = Names("1225754101")
    assert names.request_queue == "1225754101-req-queue"
    assert names.response_queue == "1225754101-resp-queue"
    assert names.dead_letter_queue == "1225754101-req-dlq"


def test_the_longest_names_fit_aws() -> None:
    names = Names("A_" * 12)
    assert len(names.response_queue) <= 80
    bucket = names.bucket("123456789012", "ap-southeast-2")
    assert len(bucket) <= 63
    assert bucket == bucket.lower()
    assert "_" not in bucket
    assert len(names.recognition_role) <= 64


def test_an_interrupted_write_leaves_the_old_file_and_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def interrupted() -> None:
        with paths.atomic_write(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
