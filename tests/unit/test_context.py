"""How a command's deployment is chosen, and how deployments are recorded."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from facectl import aws, paths, records
from facectl.context import LOCAL_ACCOUNT, Deployment, Key, Overrides, resolve
from facectl.errors import InputError
from facectl.naming import Names
from facectl.records import current, recall, remember

LOCAL = Deployment(
    "alice",
    "local",
    endpoint_url="http://127.0.0.1:4566",
    function_url="http://u",
    account=LOCAL_ACCOUNT,
)
AWS = Deployment("alice", "aws", "eu-west-1", profile="school", auth="none", account="123456789012")
OTHER_ACCOUNT = "210987654321"


@pytest.fixture(autouse=True)
def no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell sets no region."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "FACECTL_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)


def refusal(overrides: Overrides, *, new: bool = False) -> InputError:
    with pytest.raises(InputError) as caught:
        resolve(overrides, new=new)
    return caught.value


def test_without_a_deployment_the_hint_says_how_to_create_one() -> None:
    error = refusal(Overrides())
    assert str(error).startswith("No deployment yet")
    assert error.hint is not None
    assert "facectl deploy" in error.hint


def test_the_last_recorded_deployment_is_current() -> None:
    remember(Deployment("bob", "aws"))
    remember(LOCAL)
    assert resolve(Overrides()) == LOCAL
    assert resolve(Overrides(asu_id="bob")) == Deployment("bob", "aws")


def test_flags_override_the_record() -> None:
    remember(LOCAL)
    changed = resolve(Overrides(endpoint_url="http://127.0.0.1:9"))
    assert changed == replace(LOCAL, endpoint_url="http://127.0.0.1:9")
    remember(AWS)
    assert resolve(Overrides(profile="mine")) == replace(AWS, profile="mine")


def test_another_target_does_not_use_the_record() -> None:
    remember(LOCAL)
    assert resolve(Overrides(target="aws")) == Deployment("alice", "aws")


def test_a_named_deployment_needs_no_record() -> None:
    assert resolve(Overrides(asu_id="carol")) == Deployment("carol", "aws")


def test_each_target_has_its_own_record() -> None:
    """`--target aws` finds the region, profile and auth of the AWS record."""
    remember(AWS)
    remember(LOCAL)
    assert resolve(Overrides(asu_id="alice", target="aws")) == AWS
    assert resolve(Overrides(target="aws")) == AWS
    assert resolve(Overrides(asu_id="alice", target="local")) == LOCAL


def test_forgetting_one_target_keeps_the_other() -> None:
    """`destroy --target local` must not delete the record of the deployment on AWS."""
    remember(AWS)
    remember(LOCAL)
    records.forget(LOCAL.key)
    assert records.known() == [AWS.key]
    assert resolve(Overrides(asu_id="alice")) == AWS


def test_an_id_on_two_targets_is_ambiguous() -> None:
    remember(AWS)
    remember(LOCAL)
    error = refusal(Overrides(asu_id="alice"))
    assert str(error) == (
        "ASU ID alice is deployed in 2 places; say which one:\n"
        "  alice on aws, eu-west-1, account 123456789012: "
        "--asu-id alice --target aws --region eu-west-1 --account 123456789012\n"
        "  alice on local, us-east-1, account 000000000000: "
        "--asu-id alice --target local --region us-east-1"
    )
    assert error.hint == "--target aws   or   --target local"


def test_an_id_in_two_regions_or_accounts_is_ambiguous() -> None:
    remember(AWS)
    remember(replace(AWS, region="us-west-2"))
    assert refusal(Overrides("alice", "aws")).hint == "--region eu-west-1   or   --region us-west-2"
    remember(replace(AWS, account=OTHER_ACCOUNT))
    error = refusal(Overrides("alice", "aws", "eu-west-1"))
    assert error.hint == f"--account 123456789012   or   --account {OTHER_ACCOUNT}"
    assert resolve(Overrides("alice", "aws", "eu-west-1", account=AWS.account)) == AWS


def test_the_current_deployment_needs_no_flag() -> None:
    remember(AWS)
    remember(LOCAL)
    assert resolve(Overrides()) == LOCAL
    records.use(AWS.key)
    assert resolve(Overrides()) == AWS
    assert resolve(Overrides(region="eu-west-1")) == AWS


def test_a_flag_that_differs_from_the_current_deployment_means_another() -> None:
    remember(replace(AWS, region="us-west-2"))
    remember(AWS)
    assert resolve(Overrides(region="us-west-2")).region == "us-west-2"
    assert refusal(Overrides(region="us-east-1")).hint is not None


def test_a_region_without_a_record_is_refused() -> None:
    remember(AWS)
    error = refusal(Overrides(asu_id="alice", region="us-east-1"))
    assert (
        "ASU ID alice is deployed elsewhere, not in us-east-1:\n  alice on aws, eu-west-1"
        in str(error)
    )
    assert error.hint == ("--asu-id alice --target aws --region eu-west-1 --account 123456789012")
    error = refusal(Overrides(asu_id="alice", account=OTHER_ACCOUNT))
    assert f"not in account {OTHER_ACCOUNT}" in str(error)


def test_a_second_region_needs_id_target_and_region() -> None:
    remember(AWS)
    error = refusal(Overrides(region="us-east-1"), new=True)
    assert error.hint is not None
    assert error.hint.endswith(
        "or, for a second deployment: --asu-id alice --target aws --region us-east-1"
    )
    second = Overrides("alice", "aws", "us-east-1")
    assert resolve(second, new=True) == Deployment("alice", "aws")
    assert "elsewhere" in str(refusal(second))


def test_a_second_account_needs_id_target_and_region() -> None:
    remember(AWS)
    other = Overrides("alice", "aws", "eu-west-1", account=OTHER_ACCOUNT)
    expected = Deployment("alice", "aws", "eu-west-1", account=OTHER_ACCOUNT)
    assert resolve(other, new=True) == expected


def test_an_account_without_a_record_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws.Clients, "account", OTHER_ACCOUNT, raising=False)
    with pytest.raises(InputError) as caught:
        aws.with_account(replace(AWS, profile=None))
    assert str(caught.value) == (
        f"The credentials belong to account {OTHER_ACCOUNT}, "
        "but the deployment is alice on aws, eu-west-1, account 123456789012"
    )
    assert caught.value.hint is not None
    assert f"--account {OTHER_ACCOUNT}" in caught.value.hint
    asked = aws.with_account(replace(AWS, profile=None, account=None))
    assert asked.account == OTHER_ACCOUNT
    assert aws.with_account(replace(LOCAL, account=None)) == LOCAL


def test_the_region_comes_from_flag_then_record_then_shell_then_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile school]\nregion = ap-south-1\n[default]\nregion = sa-east-1\n")

    def region(**said: str) -> str:
        return resolve(Overrides(asu_id="new", **said)).region  # type: ignore[arg-type]

    assert region() == "us-east-1"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert region() == "sa-east-1"
    assert region(profile="school") == "ap-south-1"
    # The local cloud has no profiles.
    assert region(profile="school", target="local") == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert region(profile="school") == "eu-central-1"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert region(profile="school") == "eu-north-1"
    assert region(region="us-west-1") == "us-west-1"
    remember(AWS)
    assert resolve(Overrides(asu_id="alice")).region == "eu-west-1"


@pytest.mark.parametrize("region", ["../x", "", "US-EAST-1", "a" * 41])
def test_an_invalid_region_is_refused(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is not the name of a region"):
        Overrides(region=region)
    if region:
        monkeypatch.setenv("AWS_REGION", region)
        assert "AWS_REGION" in str(refusal(Overrides(asu_id="new")))


def test_an_unknown_profile_is_refused() -> None:
    error = refusal(Overrides(asu_id="new", profile="nobody"))
    assert str(error) == "No AWS profile is called 'nobody'"


def test_an_invalid_account_is_refused() -> None:
    with pytest.raises(InputError, match="twelve digits"):
        Overrides(account="12")


def test_a_record_gets_its_account_when_it_is_known() -> None:
    remember(replace(AWS, account=None), {"memory": 4096})
    remember(AWS)
    assert records.known() == [AWS.key]
    assert records.options(AWS.key) == {"memory": 4096}
    assert current() == AWS.key


def test_forgetting_the_current_deployment_leaves_none_current() -> None:
    remember(LOCAL)
    records.forget(LOCAL.key)
    assert current() is None
    assert recall(LOCAL.key) is None


def test_without_a_current_deployment_the_error_lists_the_others() -> None:
    remember(AWS)
    remember(LOCAL)
    records.forget(LOCAL.key)
    error = refusal(Overrides())
    assert "No deployment is current" in str(error)
    assert "alice on aws, eu-west-1" in str(error)
    assert error.hint == "facectl context use alice --target aws"


def test_a_damaged_record_is_named_with_a_hint() -> None:
    remember(AWS)
    file = remember(LOCAL)
    file.write_text("{")
    error = refusal(Overrides())
    assert str(error).startswith(f"{file} is damaged")
    assert error.hint == (
        f"rm '{file}'; facectl deploy --asu-id alice --target local --region us-east-1"
    )
    # The other records can still be used.
    assert resolve(Overrides("alice", "aws")) == AWS


@pytest.mark.parametrize(
    "change", [("eu-west-1", "us-west-2"), ('"aws"', "5"), ('"alice"', '"a b"')]
)
def test_a_record_of_another_deployment_is_damaged(change: tuple[str, str]) -> None:
    file = remember(AWS)
    file.write_text(file.read_text().replace(*change))
    assert "is damaged" in str(refusal(Overrides()))


@pytest.mark.parametrize("text", ["", "alice/", "../../x", "alice/aws-x", "\0", "alice"])
def test_a_damaged_current_file_means_none(text: str, isolated: Path) -> None:
    remember(AWS)
    remember(LOCAL)
    (isolated / "state" / "deployments" / "current").write_text(text)
    assert current() is None


def test_a_record_of_a_later_version_is_read() -> None:
    file = remember(LOCAL)
    file.write_text(file.read_text().replace("{", '{"added_later": 1,', 1))
    assert recall(LOCAL.key) == LOCAL


def test_only_the_owner_can_read_the_record() -> None:
    assert stat.S_IMODE(remember(LOCAL).stat().st_mode) == 0o600


def test_a_key_is_parsed_from_its_name() -> None:
    for key in (LOCAL.key, AWS.key, Key("a", "aws", "us-gov-west-1")):
        assert Key.parse(key.name) == key


@pytest.mark.parametrize("asu_id", ["", "a b", "ä", "-a", "x" * 25, "a/b", "a.fifo", "a\n"])
def test_an_id_that_cannot_name_a_queue_is_refused(asu_id: str) -> None:
    with pytest.raises(InputError, match="can't name a queue"):
        Names(asu_id)


def test_the_names_of_the_queues_follow_the_contract() -> None:
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


def test_an_interrupted_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
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
