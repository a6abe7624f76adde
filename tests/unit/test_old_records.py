"""Records of earlier versions are migrated once and completely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facectl import old_records, paths, records
from facectl.context import LOCAL_ACCOUNT, Deployment, Overrides, resolve
from facectl.deploy import options
from facectl.deploy.options import Options
from facectl.errors import InputError

# Exactly what version 0.1.0 writes.
SCHOOL = """{
  "asu_id": "1225754101",
  "target": "aws",
  "region": "eu-west-1",
  "profile": "school",
  "endpoint_url": null,
  "function_url": "https://abc.lambda-url.eu-west-1.on.aws/",
  "space": "281cebca/facenet",
  "synthetic": false,
  "auth": "iam"
}"""
SCHOOL_OPTIONS = """{
  "target": "aws",
  "options": {
    "memory": 4096,
    "pollers": [
      2,
      4
    ],
    "auth": "iam",
    "role_arn": "arn:aws:iam::123456789012:role/LabRole"
  }
}"""
DEMO = """{
  "asu_id": "demo",
  "target": "local",
  "region": "us-east-1",
  "profile": null,
  "endpoint_url": "http://127.0.0.1:4566",
  "function_url": "http://127.0.0.1:4566/_aws/lambda-url/abc/",
  "space": null,
  "synthetic": true,
  "auth": "none"
}"""
DEMO_OPTIONS = """{
  "target": "local",
  "options": {}
}"""
SCHOOL_NOW = Deployment(
    "1225754101",
    "aws",
    "eu-west-1",
    profile="school",
    function_url="https://abc.lambda-url.eu-west-1.on.aws/",
    space="281cebca/facenet",
    auth="iam",
)
DEMO_NOW = Deployment(
    "demo",
    "local",
    endpoint_url="http://127.0.0.1:4566",
    function_url="http://127.0.0.1:4566/_aws/lambda-url/abc/",
    synthetic=True,
    auth="none",
    account=LOCAL_ACCOUNT,
    demo=True,
)


@pytest.fixture
def folder(isolated: Path) -> Path:
    """The state of version 0.1.0 with a deployment on AWS and the demo, which is current."""
    folder = isolated / "state" / "deployments"
    folder.mkdir(parents=True)
    for name, text in (
        ("1225754101.json", SCHOOL),
        ("1225754101.options.json", SCHOOL_OPTIONS),
        ("demo.json", DEMO),
        ("demo.options.json", DEMO_OPTIONS),
        ("current", "demo"),
    ):
        (folder / name).write_text(text)
    return folder


def check_all_there() -> None:
    assert records.known() == [SCHOOL_NOW.key, DEMO_NOW.key]
    assert resolve(Overrides()) == DEMO_NOW
    assert resolve(Overrides(asu_id="1225754101")) == SCHOOL_NOW
    assert options.recall(SCHOOL_NOW) == Options(
        memory=4096,
        pollers=(2, 4),
        auth="iam",
        role_arn="arn:aws:iam::123456789012:role/LabRole",
    )
    assert options.recall(DEMO_NOW) == Options()


def test_the_first_read_migrates_everything(folder: Path) -> None:
    check_all_there()
    assert sorted(file.name for file in folder.iterdir() if file.is_file()) == [".lock", "current"]
    # The old files are kept.
    assert (folder / "migrated" / "1225754101.json").read_text() == SCHOOL
    assert (folder / "migrated" / "1225754101.options.json").read_text() == SCHOOL_OPTIONS
    check_all_there()


@pytest.mark.parametrize("call", ["known", "current", "read_all"])
def test_every_first_call_migrates_everything(folder: Path, call: str) -> None:
    getattr(records, call)()
    check_all_there()


def test_a_first_deploy_migrates_everything(folder: Path) -> None:
    new = Deployment("new", "local")
    records.remember(new)
    assert records.current() == new.key
    records.use(DEMO_NOW.key)
    records.forget(new.key)
    check_all_there()


def test_a_first_forget_migrates_and_forgets_one(folder: Path) -> None:
    records.forget(DEMO_NOW.key)
    assert records.known() == [SCHOOL_NOW.key]
    assert records.current() is None


@pytest.mark.parametrize("after", range(12))
def test_an_interrupted_migration_is_finished_by_the_next_command(
    folder: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = after

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return function(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        # A migration writes only with these two functions.
        patch.setattr(paths, "atomic_write", counted(paths.atomic_write))
        patch.setattr(Path, "replace", counted(Path.replace))
        try:
            records.known()
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
    assert interrupted == (after < 10)
    check_all_there()
    assert not old_records.present(folder)


def test_a_newer_record_is_not_replaced(folder: Path) -> None:
    """A user who returned to the earlier version for a while has both."""
    newer = Deployment("1225754101", "aws", "eu-west-1", profile="newer")
    school = (folder / "1225754101.json").read_text()
    records.remember(newer)
    (folder / "1225754101.json").write_text(school)
    assert resolve(Overrides(asu_id="1225754101")) == newer


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"asu_id": "1225754101"}',
    SCHOOL.replace("1225754101", "1225754102"), SCHOOL.replace("aws", "azure", 1),
    SCHOOL.replace("eu-west-1", "../../x", 1), SCHOOL.replace('"eu-west-1"', "7", 1), "\0"],
)  # fmt: skip
def test_a_damaged_deployment_is_an_error_and_is_kept(folder: Path, text: str) -> None:
    file = folder / "1225754101.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"1225754101\.json is damaged") as caught:
        resolve(Overrides(asu_id="1225754101", target="aws"))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"rm '{file}'; facectl deploy --asu-id 1225754101")
    assert file.read_text() == text
    assert (folder / "1225754101.options.json").read_text() == SCHOOL_OPTIONS
    # The other records can still be used.
    assert resolve(Overrides()) == DEMO_NOW
    [_, error] = records.read_all()
    assert isinstance(error, InputError)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"target": "aws"}', '{"options": {}}', "null"])
def test_damaged_options_are_an_error_and_are_kept(folder: Path, text: str) -> None:
    file = folder / "1225754101.options.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"1225754101\.options\.json is damaged") as caught:
        resolve(Overrides(asu_id="1225754101"))
    assert caught.value.hint == f"rm '{file}'"
    assert (folder / "1225754101.json").read_text() == SCHOOL
    # As the hint says.
    file.unlink()
    assert resolve(Overrides(asu_id="1225754101")) == SCHOOL_NOW


def test_a_damaged_current_file_is_an_error(folder: Path) -> None:
    (folder / "demo.json").write_text("{")
    with pytest.raises(InputError, match=r"demo\.json is damaged"):
        resolve(Overrides())


def test_options_of_the_other_target_are_not_used(folder: Path) -> None:
    (folder / "1225754101.options.json").write_text(SCHOOL_OPTIONS.replace("aws", "local", 1))
    assert options.recall(resolve(Overrides(asu_id="1225754101"))) == Options()
    assert (folder / "migrated" / "1225754101.options.json").exists()


@pytest.mark.parametrize("asu_id", ["current", "records", "migrated"])
def test_ids_that_equal_names_of_our_own_files(folder: Path, asu_id: str) -> None:
    (folder / f"{asu_id}.json").write_text(DEMO.replace('"demo"', f'"{asu_id}"'))
    (folder / "current").write_text(asu_id)
    assert resolve(Overrides()).asu_id == asu_id
    assert len(records.known()) == 3
