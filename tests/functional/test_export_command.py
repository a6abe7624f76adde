"""`facectl export`, `facectl push` and `facectl context add`, as commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from moto_account import keep_conditions
from test_deploy_command import FIRST, built, cloud, facectl
from test_permissions import recorded
from typer.testing import Result

from facectl import records
from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy.options import Options
from facectl.deploy.permissions import READING
from facectl.errors import CloudError, FacectlError, InputError
from facectl.export import cloudformation, terraform
from facectl.models import store
from facectl.naming import FUNCTIONS, TAG_KEY
from lambda_src.vision.store import NETWORKS

# Fixtures.
__all__ = ["built", "cloud", "recorded"]
NUMBER = "123456789012"
WHERE = ("--asu-id", "42", "--target", "aws")


def failed(done: Result, kind: type[FacectlError]) -> FacectlError:
    assert isinstance(done.exception, kind), (done.output, done.exception)
    assert done.exception.hint
    assert done.stdout == ""
    return done.exception


def export(form: str, *arguments: object) -> Result:
    return facectl("export", form, *WHERE, *map(str, arguments))


def test_a_template_goes_to_stdout_or_into_a_file(tmp_path: Path) -> None:
    printed = export("cloudformation", "--memory", 1024)
    assert printed.stderr == ""
    template = json.loads(printed.stdout)
    function = template["Resources"]["DetectionFunction"]["Properties"]
    assert function["MemorySize"] == 1024

    file = tmp_path / "new" / "facectl.json"
    written = export("cloudformation", "--memory", 1024, "--out", file)
    assert written.stdout == ""
    assert file.read_text() == printed.stdout
    assert f"--template-file {file} --stack-name facectl-42" in written.stderr
    assert "$(facectl push --asu-id 42 --target aws --region us-east-1)" in written.stderr
    assert written.stderr.splitlines()[-1].startswith("  facectl context add --asu-id 42")
    # Nothing is remembered, so nothing changes what other commands act on.
    assert records.known() == []


def test_what_comes_next_depends_on_the_format_and_the_images(tmp_path: Path) -> None:
    file = tmp_path / "main.tf.json"
    told = export("terraform", "--out", file).stderr
    assert told.index("terraform init") < told.index("terraform apply -target=aws_ecr_repository")
    assert "--json > images.auto.tfvars.json" in told
    assert json.loads(file.read_text())["resource"]["aws_lambda_function"]
    images = [f"--image-uri={function}=r.example/{function}:1" for function in FUNCTIONS]
    told = export("terraform", "--out", file, *images).stderr
    assert "push" not in told
    assert " -target=" not in told
    told = export("cloudformation", "--out", tmp_path / "a.json", *images).stderr
    assert "push" not in told
    assert told.count("aws cloudformation deploy") == 1


def test_options_of_earlier_deploys_have_no_effect() -> None:
    before = export("terraform").stdout
    deployment = Deployment("42", "aws", account=NUMBER)
    remembered.remember(deployment, Options(memory=512, pollers=(2, 3)))
    assert export("terraform").stdout == before


def test_the_template_is_for_aws_also_if_the_local_cloud_is_current() -> None:
    records.remember(Deployment("42", "local"))
    assert json.loads(facectl("export", "terraform").stdout)["resource"]["aws_sqs_queue_policy"]
    error = failed(facectl("export", "terraform", "--target", "local"), InputError)
    assert "for AWS, not for the local cloud" in str(error)


def test_a_public_url_without_a_bound_is_a_warning() -> None:
    assert (
        "only the account's concurrency limit bounds it"
        in export("cloudformation", "--auth", "none").stderr
    )
    assert export("cloudformation", "--auth", "none", "--reserved-concurrency", 2).stderr == ""


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    done = export("pulumi")
    assert done.exit_code == 2
    assert "'pulumi' is not" in done.stderr
    assert "cloudformation" in done.stderr
    assert "terraform" in done.stderr


EXPORTS: dict[str, tuple[tuple[object, ...], str]] = {
    "limits": (("--max-concurrency", 3, "--pollers", "2:4"), "Give --max-concurrency or --pollers"),
    "roles": (
        ("--role-arn", f"arn:aws:iam::{NUMBER}:role/a", "--boundary",
         f"arn:aws:iam::{NUMBER}:policy/b"),
        "Give --role-arn or --boundary",
    ),
    "warm": (
        ("--provisioned-concurrency", 4, "--reserved-concurrency", 3),
        "--provisioned-concurrency 4 is more than --reserved-concurrency 3",
    ),
    "one image": (
        ("--image-uri", "face-detection=a"),
        "--image-uri is needed for both functions, face-recognition has none",
    ),
    "no function": (("--image-uri", "a"), "'a' is not FUNCTION=URI"),
    "no URI": (
        ("--image-uri", "face-detection=", "--image-uri", "face-recognition=b"),
        "'face-detection=' is not FUNCTION=URI",
    ),
    "no address": (("--alarms", "ann"), "neither an e-mail address nor 'off'"),
    "key of elsewhere": (
        ("--kms-key", f"arn:aws:kms:eu-west-1:{NUMBER}:key/a"),
        "is not of this account and region",
    ),
    "pollers": (("--pollers", "1"), "is not LEAST:MOST"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["cloudformation", "terraform"])
@pytest.mark.parametrize(("arguments", "text"), EXPORTS.values(), ids=EXPORTS)
def test_what_a_deploy_would_refuse_is_refused(
    form: str, arguments: tuple[object, ...], text: str, tmp_path: Path
) -> None:
    file = tmp_path / "main.tf.json"
    assert text in str(failed(export(form, *arguments, "--out", file), InputError))
    assert not file.exists()


def test_a_file_that_cant_be_written_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (tmp_path, file / "facectl.json"):
        error = failed(export("cloudformation", "--out", place), InputError)
        assert f"{place} can't be written" in str(error)
    assert file.read_text() == ""


def test_a_name_that_terraform_does_not_read_is_refused(tmp_path: Path) -> None:
    error = failed(export("terraform", "--out", tmp_path / "main.json"), InputError)
    assert "*.tf.json only" in str(error)
    assert error.hint == "--out main.tf.json"
    assert list(tmp_path.glob("*.json")) == []


def test_without_a_deployment_the_asu_id_is_asked_for() -> None:
    error = failed(facectl("export", "cloudformation"), InputError)
    assert "facectl deploy --asu-id ID" in str(error.hint)


def make_repositories(clients: Clients) -> None:
    for function in FUNCTIONS:
        clients.ecr.create_repository(repositoryName=function)


def test_images_are_pushed_once(cloud: Clients, built: Path) -> None:
    make_repositories(cloud)
    first = facectl("push", *WHERE)
    assert first.exit_code == 0, first.output
    parameters = dict(line.split("=", 1) for line in first.stdout.splitlines())
    assert set(parameters) == set(cloudformation.IMAGES.values())
    for function, parameter in cloudformation.IMAGES.items():
        registry, _, name = parameters[parameter].partition("/")
        assert registry == f"{NUMBER}.dkr.ecr.us-east-1.amazonaws.com"
        [detail] = cloud.ecr.describe_images(repositoryName=function)["imageDetails"]
        assert name == f"{function}:{detail['imageTags'][0]}"
    assert len(built.read_text().splitlines()) == 2

    again = facectl("push", "--json")
    assert len(built.read_text().splitlines()) == 2
    assert json.loads(again.stdout) == {
        terraform.IMAGES[function]: parameters[parameter]
        for function, parameter in cloudformation.IMAGES.items()
    }
    # As a deploy, it is what the next commands act on, and builds in the same way.
    assert records.options(Deployment("42", "aws", account=NUMBER).key)["builder"] == "docker"
    # A deploy would build the same images.
    assert "image" not in facectl("deploy", "--dry-run", "--adopt").stdout.replace("images", "")


@pytest.mark.usefixtures("cloud")
def test_without_repositories_nothing_is_pushed(built: Path) -> None:
    done = facectl("push", *WHERE)
    assert isinstance(done.exception, CloudError)
    assert "There is no repository face-detection in 42 on aws" in str(done.exception)
    assert "facectl export cloudformation" in str(done.exception.hint)
    assert not built.exists()
    assert records.known() == []


def test_nothing_is_pushed_to_the_local_cloud() -> None:
    error = failed(facectl("push", "--asu-id", "42", "--target", "local"), InputError)
    assert error.hint == "--target aws   or   facectl deploy --target local"


def forget() -> None:
    """Forget every deployment, as another computer that never knew them."""
    for each in records.known():
        records.forget(each)


CHOSEN = ("--memory", "1024", "--auth", "none", "--max-concurrency", "4", "--no-names",
          "--batch-size", "3", "--timeout", "30", "--architecture", "arm64",
          "--alarms", "a@example.com", "--metrics",
          "--min-face-size", "40")  # fmt: skip


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("arguments", [(), CHOSEN])
def test_a_deployment_of_elsewhere_is_remembered(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_conditions(monkeypatch)
    assert facectl(*FIRST, *arguments).exit_code == 0
    key = records.current()
    assert key is not None
    before, options = records.read(key), records.options(key)
    forget()
    done = facectl("context", "add", *WHERE)
    assert done.exit_code == 0, done.output
    assert records.current() == key
    assert records.read(key) == before
    found = records.options(key)
    images = found.pop("image_uris")
    assert [image.split("=")[0] for image in images] == list(FUNCTIONS)
    for name in ("builder", "base_image", "package_index"):
        options.pop(name, None)
    # Without options they are those that a deploy derived from the account.
    assert options.items() <= found.items()
    status = facectl("status", "--json")
    assert json.loads(status.stdout)["drift"] is False, status.stdout
    assert status.exit_code == 0


@pytest.mark.usefixtures("cloud")
def test_the_images_of_this_computer_are_known_again() -> None:
    assert facectl(*FIRST).exit_code == 0
    assert facectl("context", "add").exit_code == 0
    key = records.current()
    assert key is not None
    assert records.options(key)["image_uris"] == []
    kinds = {each["kind"] for each in json.loads(facectl("status", "--json").stdout)["resources"]}
    assert "repository" in kinds


@pytest.mark.usefixtures("cloud")
def test_the_next_deploy_builds_its_own_images() -> None:
    assert facectl(*FIRST).exit_code == 0
    forget()
    assert facectl("context", "add", *WHERE).exit_code == 0
    done = facectl("deploy")
    assert done.exit_code == 0
    assert done.stdout.startswith("Nothing to change\n")
    key = records.current()
    assert key is not None
    assert "image_uris" not in records.options(key)


@pytest.mark.usefixtures("cloud")
def test_what_is_not_there_is_not_remembered() -> None:
    done = facectl("context", "add", *WHERE)
    assert isinstance(done.exception, CloudError)
    assert "There is no function face-detection in 42 on aws" in str(done.exception)
    assert "facectl export cloudformation" in str(done.exception.hint)
    assert records.known() == []


def test_the_deployment_of_another_asu_id_is_not_remembered(cloud: Clients) -> None:
    assert facectl(*FIRST).exit_code == 0
    done = facectl("context", "add", "--asu-id", "43", "--target", "aws", "--region", "us-east-1")
    assert isinstance(done.exception, CloudError)
    assert str(done.exception) == "The function face-detection is of ASU ID 42"
    assert done.exception.hint == "--asu-id 42"
    arn = cloud.functions.get_function(FunctionName="face-detection")["Configuration"]
    cloud.functions.untag_resource(Resource=arn["FunctionArn"], TagKeys=[TAG_KEY])
    done = facectl("context", "add")
    assert "not of facectl" in str(done.exception)
    assert [key.asu_id for key in records.known()] == ["42"]


def remove_url(clients: Clients) -> None:
    clients.functions.delete_function_url_config(FunctionName="face-detection")


def remove_trigger(clients: Clients) -> None:
    [mapping] = clients.functions.list_event_source_mappings()["EventSourceMappings"]
    clients.functions.delete_event_source_mapping(UUID=mapping["UUID"])


@pytest.mark.parametrize(
    ("remove", "text"),
    [(remove_url, "face-detection has no Function URL"), (remove_trigger, "there is no trigger")],
)
def test_a_deployment_that_is_not_complete_is_not_remembered(
    cloud: Clients, remove: Any, text: str
) -> None:
    assert facectl(*FIRST).exit_code == 0
    forget()
    remove(cloud)
    done = facectl("context", "add", *WHERE)
    assert str(done.exception) == f"The deployment is not complete: {text}"
    assert records.known() == []


@pytest.mark.usefixtures("cloud")
def test_a_reader_may_add_a_deployment(recorded: set[str]) -> None:
    assert facectl(*FIRST).exit_code == 0
    recorded.clear()
    assert facectl("context", "add").exit_code == 0
    reading = {f"{service}:{name}" for service, names in READING.items() for name in names}
    assert len(recorded) > 5
    assert recorded - {"sts:GetCallerIdentity"} <= reading


def test_a_push_calls_ecr_alone(cloud: Clients, recorded: set[str]) -> None:
    make_repositories(cloud)
    assert facectl("push", *WHERE).exit_code == 0
    assert {name.partition(":")[0] for name in recorded} == {"ecr", "sts"}


def test_an_export_calls_nothing(recorded: set[str]) -> None:
    assert export("cloudformation", "--alarms", "a@example.com").exit_code == 0
    assert recorded == set()


def tag_queues(clients: Clients, **tags: str) -> None:
    """Tag the queues as a template does."""
    for url in clients.sqs.list_queues()["QueueUrls"]:
        clients.sqs.tag_queue(QueueUrl=url, Tags={f"facectl:{name}": v for name, v in tags.items()})


FLAGS = f"--asu-id 42 --target aws --region us-east-1 --account {NUMBER}"
STACK = "--stack-name facectl-42 --region us-east-1"
REVERT = f"aws cloudformation create-change-set {STACK} --change-set-name facectl-drift"


def advised(*arguments: str) -> tuple[str, str, list[list[str]]]:
    """What `status` prints after the table, and its advice and template as JSON."""
    done = facectl("status", *arguments)
    assert done.exit_code == 1, done.output
    told = done.stdout[done.stdout.index("Drift found") :]
    data = json.loads(facectl("status", "--json", *arguments).stdout)
    return told, data["template"], [each["commands"] for each in data["advice"]]


def test_drift_of_a_stack_is_not_repaired_by_a_deploy(cloud: Clients) -> None:
    assert facectl(*FIRST).exit_code == 0
    assert facectl("status").stdout.endswith("No drift\n")
    tag_queues(cloud, template="cloudformation")
    assert facectl("status").stdout.endswith("No drift\n")
    cloud.functions.update_function_configuration(FunctionName="face-detection", Timeout=3)
    told, template, commands = advised()
    assert template == {"form": "cloudformation", "stack": ""}
    assert told.startswith("Drift found. CloudFormation made this deployment: change it there")
    assert [each[0].split(" --deployment")[0] for each in commands] == [
        REVERT,
        f"facectl context add {FLAGS}",
    ]
    assert "--deployment-mode REVERT_DRIFT --use-previous-template" in commands[0][0]
    # Without these, the functions would be removed.
    for parameter in cloudformation.IMAGES.values():
        assert f"ParameterKey={parameter},UsePreviousValue=true" in commands[0][0]
    assert all(f"\n  {command}\n" in told for each in commands for command in each)
    assert "facectl push" not in told


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "cloudformation",
            [
                (
                    f"aws cloudformation deploy --template-file facectl.json {STACK} "
                    "--capabilities CAPABILITY_NAMED_IAM "
                    f"--parameter-overrides $(facectl push {FLAGS})"
                )
            ],
        ),
        (
            "terraform",
            [f"facectl push {FLAGS} --json > images.auto.tfvars.json", "terraform apply"],
        ),
    ],
)
def test_other_images_of_a_template_are_pushed(
    cloud: Clients, form: str, expected: list[str]
) -> None:
    assert facectl(*FIRST).exit_code == 0
    tag_queues(cloud, template=form)
    _install_other_model()
    told, template, commands = advised()
    assert template["form"] == form  # type: ignore[index]
    assert commands == [expected, [f"facectl context add {FLAGS}"]]
    assert "facectl deploy" in told.splitlines()[0]
    assert "facectl deploy" not in "".join(told.splitlines()[1:])


def test_terraform_repairs_what_else_was_changed(cloud: Clients) -> None:
    assert facectl(*FIRST).exit_code == 0
    tag_queues(cloud, template="terraform")
    cloud.functions.update_function_configuration(FunctionName="face-detection", Timeout=3)
    told, _, commands = advised()
    assert told.startswith("Drift found. Terraform made this deployment")
    assert commands == [["terraform apply"], [f"facectl context add {FLAGS}"]]


def test_the_name_of_the_stack_is_that_of_its_tag(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template of an earlier facectl has no tag of its own. moto refuses tags of AWS."""
    assert facectl(*FIRST).exit_code == 0
    known = {"Tags": {TAG_KEY: "42", "aws:cloudformation:stack-name": "faces"}}
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, arguments: Any) -> Any:
        if operation == "ListQueueTags":
            return known
        return original(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    cloud.functions.update_function_configuration(FunctionName="face-detection", Timeout=3)
    told, template, commands = advised()
    assert template == {"form": "cloudformation", "stack": "faces"}
    assert told.startswith("Drift found. CloudFormation (stack faces) made this deployment")
    assert "--stack-name faces " in commands[0][0]


def test_a_stack_without_images_needs_a_push(cloud: Clients) -> None:
    assert facectl(*FIRST).exit_code == 0
    tag_queues(cloud, template="cloudformation")
    for function in FUNCTIONS:
        cloud.functions.delete_function(FunctionName=function)
    _, _, commands = advised()
    assert "$(facectl push" in commands[0][0]
    assert commands[1][0].startswith(REVERT)


def test_a_deploy_and_a_destroy_of_what_a_template_made_are_a_warning(cloud: Clients) -> None:
    assert facectl(*FIRST).exit_code == 0
    warning = "Terraform made this deployment, and does not know what facectl changes in it"
    assert warning not in facectl("deploy", "--memory", "1024", "--dry-run").stderr
    tag_queues(cloud, template="terraform")
    assert warning in facectl("deploy", "--memory", "1024", "--dry-run").stderr
    assert warning not in facectl("deploy").stderr
    assert warning in facectl("destroy", "--yes").stderr


def _install_other_model() -> None:
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(f"other {name}")
        facts = {"preprocessing": "facenet", "synthetic": False, "weights": "vggface2"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
