"""The exported templates: valid, complete, and the same wherever they are made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from export_samples import options_of

from facectl.context import Deployment
from facectl.deploy.desired import resources
from facectl.deploy.models import DesiredState
from facectl.deploy.options import Options
from facectl.deploy.resources import Image, Resource
from facectl.errors import InputError
from facectl.export import cloudformation, terraform
from facectl.export.state import Dialect, desired_state, given_images
from facectl.naming import FUNCTIONS

NUMBER = "123456789012"
OPTIONS = options_of(NUMBER)
HERE = Deployment("42", "aws", "us-east-1")
SCHEMA = json.loads(
    (Path(__file__).parents[1] / "functional" / "golden" / "terraform_schema.json").read_text()
)
# CloudFormation User Guide, quotas: the size of a template that is not in a bucket.
LARGEST = 51_200
# The arguments of every resource.
META = {"depends_on", "lifecycle"}
PYTHON_TYPES = {"string": str, "number": (int, float), "boolean": bool}


def state_of(options: Options, dialect: Dialect) -> DesiredState:
    return desired_state(HERE, options, dialect)


def template(options: Options) -> dict[str, Any]:
    state = state_of(options, cloudformation.DIALECT)
    return cloudformation.template(state, given_images(options))


def configuration(options: Options) -> dict[str, Any]:
    state = state_of(options, terraform.DIALECT)
    return terraform.configuration(state, given_images(options))


@pytest.mark.parametrize("name", OPTIONS)
def test_cloudformation_is_valid(name: str) -> None:
    text = json.dumps(template(OPTIONS[name]), indent=2)
    found = lint(text, config=ManualArgs(regions=["us-east-1", "eu-central-1"]))
    assert [str(each) for each in found] == []
    assert len(text) < LARGEST


def test_what_is_not_valid_cloudformation_is_found() -> None:
    broken = template(Options())
    broken["Resources"]["RequestQueue"]["Properties"]["VisibilityTimeout"] = "long"
    found = lint(json.dumps(broken), config=ManualArgs(regions=["us-east-1"]))
    assert any("VisibilityTimeout" in str(each.path) for each in found)


def is_of(value: Any, kind: str) -> bool:
    """Whether a value is of a type of the schema that is no block."""
    if kind == "map":
        return all(isinstance(each, str) for each in value.values())
    if kind.startswith("list of "):
        return isinstance(value, list) and all(
            is_of(each, kind.removeprefix("list of ")) for each in value
        )
    return isinstance(value, PYTHON_TYPES[kind]) and isinstance(value, bool) == (kind == "boolean")


def problems(block: Any, attributes: Mapping[str, Any], where: str) -> Iterator[str]:
    """What a block has that the schema does not, and what it lacks."""
    for name, attribute in attributes.items():
        if attribute["required"] and name not in block:
            yield f"{where} has no {name}"
    for name, value in block.items():
        kind = attributes.get(name, {}).get("type")
        if kind == "block":
            for each in value if isinstance(value, list) else [value]:
                yield from problems(each, attributes[name]["block"], f"{where}.{name}")
        elif kind is None and name not in META:
            yield f"{where} has {name}"
        elif kind is not None and not is_of(value, kind):
            yield f"{where}.{name} is no {kind}"


def all_problems(document: Mapping[str, Any]) -> list[str]:
    found = [
        f"there is no resource {kind}"
        for kind in document["resource"]
        if kind not in SCHEMA["resources"]
    ]
    for kind, blocks in document["resource"].items():
        for name, block in blocks.items():
            found += problems(block, SCHEMA["resources"].get(kind, {}), f"{kind}.{name}")
    for kind in document["data"]:
        if kind not in SCHEMA["data_sources"]:
            found.append(f"there is no data source {kind}")
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_terraform_has_the_arguments_of_the_providers_schema(name: str) -> None:
    assert all_problems(configuration(OPTIONS[name])) == []


def test_what_is_not_in_the_providers_schema_is_found() -> None:
    broken = configuration(Options())
    function = broken["resource"]["aws_lambda_function"]["detection"]
    del function["role"]
    function["memory"] = 1
    function["timeout"] = "60"
    function["environment"]["variable"] = {}
    broken["resource"]["aws_sqs"] = {}
    assert sorted(all_problems(broken)) == [
        "aws_lambda_function.detection has memory",
        "aws_lambda_function.detection has no role",
        "aws_lambda_function.detection.environment has variable",
        "aws_lambda_function.detection.timeout is no number",
        "there is no resource aws_sqs",
    ]


@pytest.mark.parametrize("name", OPTIONS)
def test_terraform_refers_to_what_it_has(name: str) -> None:
    document = configuration(OPTIONS[name])
    there = {f"{kind}.{name}" for kind, blocks in document["resource"].items() for name in blocks}
    there |= {f"data.{kind}.current" for kind in document["data"]}
    there |= {f"var.{variable}" for variable in document["variable"]}
    text = json.dumps([document["resource"], document["output"]])
    used = set(terraform_references(text))
    for blocks in document["resource"].values():
        for block in blocks.values():
            used |= set(block.get("depends_on", ()))
    assert used <= there
    assert {"aws_sqs_queue.request", "data.aws_region.current", "var.detection_image"} <= used


def terraform_references(text: str) -> Iterator[str]:
    for part in text.split("${")[1:]:
        words = part.partition("}")[0].split(" ")[0].split(".")
        yield ".".join(words[: 3 if words[0] == "data" else 2])


def test_the_provider_is_at_least_the_one_with_every_argument() -> None:
    wanted = terraform._REQUIRED["required_providers"]["aws"]["version"]  # type: ignore[index]
    least = [int(part) for part in wanted.removeprefix(">= ").split(".")]
    assert [int(part) for part in SCHEMA["provider"].split(".")] >= least
    assert "invoked_via_function_url" in SCHEMA["resources"]["aws_lambda_permission"]


def test_a_template_is_for_every_account_region_and_partition() -> None:
    for document in (template(OPTIONS["defaults"]), configuration(OPTIONS["defaults"])):
        text = json.dumps(document)
        assert NUMBER not in text
        assert "us-east-1" not in text
        assert "arn:aws:" not in text
        assert "amazonaws.com" not in text.replace("lambda.amazonaws.com", "")


def test_a_template_with_a_key_is_for_its_region() -> None:
    key = f"arn:aws:kms:eu-west-1:{NUMBER}:key/abc"
    with pytest.raises(InputError, match="is not of this account and region"):
        template(Options(kms_key=key))
    there = dataclasses.replace(HERE, region="eu-west-1")
    assert desired_state(there, Options(kms_key=key), cloudformation.DIALECT).kms_key == key


def test_without_images_a_stack_has_no_functions() -> None:
    found = template(Options(auth="none", provisioned_concurrency=1))
    conditional = {
        name for name, block in found["Resources"].items() if block.get("Condition") == "HaveImages"
    }
    of_lambda = {
        name
        for name, block in found["Resources"].items()
        if block["Type"].startswith("AWS::Lambda")
    }
    assert conditional == of_lambda
    assert len(of_lambda) == 10
    assert found["Outputs"]["FunctionUrl"]["Condition"] == "HaveImages"
    given = template(OPTIONS["given"])
    assert "Conditions" not in given
    assert given["Parameters"]["DetectionImage"]["Default"] == "registry.example/face-detection:1"
    assert not any("Repository" in name for name in given["Resources"])


def test_a_change_of_image_or_configuration_is_another_version() -> None:
    def description(options: Options) -> str:
        found = template(dataclasses.replace(options, provisioned_concurrency=1))
        version = found["Resources"]["DetectionAliasVersion"]["Properties"]
        text: str = version["Description"]["Fn::Sub"]
        return text

    before = description(Options())
    assert before.startswith("${DetectionImage} ")
    assert description(Options()) == before
    # The trigger is no part of the function.
    assert description(Options(batch_size=3)) == before
    assert description(Options(memory=1024)) != before
    assert description(Options(architecture="arm64")) != before
    assert description(Options(log_names=False)) != before


# Fields that a template can't have, and those of labels and references: tests that read a template
# back compare them.
NOT_TRANSLATED = {
    # What AWS reports, and what only zips and demos have.
    "function": {"packaging", "handler", "runtime", "failed", "update_failed", "digest"},
    "queue": {"deleting"},
    # A template has the newest version.
    "alias": {"version"},
    # What they belong to.
    "subscription": {"topic"},
    "dashboard": {"topic"},
    "budget": {"topic", "scope"},
}
LABELS = {"name", "function", "title", "qualifier", "statement", "alias"}


# Other values, where not every text, number or pair is one.
SPECIAL = {"pollers": (3, 4), "condition": "{}", "responses": ()}


def other(field: str, value: Any) -> Any:
    """Another value of a field."""
    if field in SPECIAL:
        return SPECIAL[field]
    if isinstance(value, bool):
        return not value
    if value is None or isinstance(value, (int, float)):
        return (value or 0) + 1
    if isinstance(value, Mapping):
        return {**value, "other": "value"}
    if value.startswith("{"):
        return json.dumps({**json.loads(value), "Other": "value"})
    return {"iam": "none", "none": "iam"}.get(value, f"{value}other")


def cases() -> Iterator[tuple[str, str, str, str]]:
    seen = set()
    for form, dialect in (("cloudformation", cloudformation), ("terraform", terraform)):
        for name, options in OPTIONS.items():
            for each in resources(state_of(options, dialect.DIALECT)):
                if isinstance(each, Image):
                    continue
                for field in dataclasses.fields(each):
                    case = (form, each.kind, field.name)
                    skipped = NOT_TRANSLATED.get(each.kind, set()) | LABELS
                    if field.compare and field.name not in skipped and case not in seen:
                        seen.add(case)
                        yield (*case, name)


@pytest.mark.parametrize(("form", "kind", "field", "name"), list(cases()))
def test_every_field_of_a_resource_is_in_the_template(
    form: str, kind: str, field: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that is added to a resource, and not to a translation, fails here."""
    module: Any = cloudformation if form == "cloudformation" else terraform
    make = template if form == "cloudformation" else configuration
    before = make(OPTIONS[name])
    changed: list[Resource] = []

    def mutated(state: DesiredState) -> tuple[Resource, ...]:
        found = list(resources(state))
        # One that has it, if there is one: most queues have no dead-letter queue.
        places = [i for i, each in enumerate(found) if each.kind == kind]
        index = max(places, key=lambda place: bool(getattr(found[place], field)))
        value = getattr(found[index], field)
        found[index] = dataclasses.replace(found[index], **{field: other(field, value)})
        changed.append(found[index])
        return tuple(found)

    monkeypatch.setattr(module, "resources", mutated)
    after = make(OPTIONS[name])
    assert changed
    assert after != before


def test_pollers_and_the_budget_are_those_of_a_deploy() -> None:
    """MiniStack, on which tests/functional/test_export_stack.py makes stacks, has neither."""
    found = template(OPTIONS["everything"])["Resources"]
    trigger = found["RecognitionTrigger"]["Properties"]
    assert trigger["ProvisionedPollerConfig"] == {"MinimumPollers": 2, "MaximumPollers": 5}
    assert "ScalingConfig" not in trigger
    budget = found["Budget"]["Properties"]
    assert budget["Budget"] == {
        "BudgetName": {"Fn::Sub": "facectl-42-${AWS::Region}"},
        "BudgetLimit": {"Amount": 5.0, "Unit": "USD"},
        "TimeUnit": "MONTHLY",
        "BudgetType": "COST",
    }
    [notified] = budget["NotificationsWithSubscribers"]
    assert notified["Subscribers"] == [{"SubscriptionType": "EMAIL", "Address": "a@example.com"}]
    assert notified["Notification"]["Threshold"] == 80.0


def test_every_function_has_a_parameter() -> None:
    assert set(cloudformation.IMAGES) == set(terraform.IMAGES) == set(FUNCTIONS)
