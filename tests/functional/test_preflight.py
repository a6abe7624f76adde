"""What is checked before a deploy changes anything, with AWS's answers as it words them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from test_deploy_access import limits
from test_deploy_command import FIRST, built, cloud, facectl

from facectl import records
from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import image_checks, preflight
from facectl.deploy.access import Concurrency, check_reserved
from facectl.deploy.options import Options, remember
from facectl.errors import CloudError, FacectlError, InputError

__all__ = ["built", "cloud"]
ACCOUNT = "123456789012"
USER = f"arn:aws:iam::{ACCOUNT}:user/ada"
LAB = f"arn:aws:sts::{ACCOUNT}:assumed-role/voclabs/user1=Ada"
LAB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/LabRole"
REGISTRY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"


class Session:
    """Clients with some identity, whose permissions IAM simulates as it is told to."""

    def __init__(self, identity: str, region: str = "us-east-1") -> None:
        self.clients = Clients(Deployment(asu_id="42", target="aws", region=region))
        self.sts, self.iam = Stubber(self.clients.sts), Stubber(self.clients.iam)
        self.functions = Stubber(self.clients.functions)
        answer = {"Arn": identity, "Account": ACCOUNT, "UserId": "x"}
        self.sts.add_response("get_caller_identity", answer)
        for stub in (self.sts, self.iam, self.functions):
            stub.activate()
        self.asked: list[dict[str, Any]] = []

    def decide(self, decisions: dict[str, str], missing: tuple[str, ...] = ()) -> None:
        """Answer each simulation; `missing`: the context keys that a denial is for want of."""

        def answer(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
            self.asked.append(params["body"])
            names = [value for key, value in params["body"].items() if "ActionNames" in key]
            results = [
                {
                    "EvalActionName": name,
                    "EvalDecision": decisions.get(name, "allowed"),
                    "MissingContextValues": list(missing),
                }
                for name in names
            ]
            return httpx.Response(200), {"EvaluationResults": results, "IsTruncated": False}

        self.iam.deactivate()
        events = self.clients.iam.meta.events
        events.register("before-call.iam.SimulatePrincipalPolicy", answer)

    def actions(self) -> set[str]:
        return {v for body in self.asked for key, v in body.items() if "ActionNames" in key}

    def principals(self) -> set[str]:
        return {body["PolicySourceArn"] for body in self.asked}


def test_complete_permissions() -> None:
    session = Session(USER)
    session.decide({})
    found = preflight.check_permissions(session.clients, Options())
    assert (found.verdict, found.text) == (
        "ok", f"all {len(session.actions())} that a deploy needs",
    )  # fmt: skip
    # test_permissions.py compares them with the calls that are made.
    assert {"iam:CreateRole", "iam:PassRole", "s3:ListBucket", "ecr:PutImage"} <= session.actions()
    assert not {"s3:ListObjectsV2", "sts:GetCallerIdentity"} & session.actions()


def test_permissions_are_simulated_on_the_deployments_resources() -> None:
    """For a policy of `facectl policy deployer`, every action on `*` would be denied."""
    session = Session(USER)
    session.decide({})
    preflight.check_permissions(session.clients, Options())
    (queues,) = [body for body in session.asked if body["ActionNames.member.1"].startswith("sqs:")]
    arns = {value for key, value in queues.items() if key.startswith("ResourceArns")}
    assert arns == {
        f"arn:aws:sqs:us-east-1:{ACCOUNT}:42-{name}"
        for name in ("req-queue", "resp-queue", "req-dlq", f"resp-{'?' * 32}")
    }
    (passing,) = [b for b in session.asked if b["ActionNames.member.1"] == "iam:PassRole"]
    assert passing["ContextEntries.member.1.ContextKeyName"] == "iam:PassedToService"


def test_a_given_role_needs_no_permission_to_create_one() -> None:
    session = Session(USER)
    session.decide({})
    preflight.check_permissions(session.clients, Options(role_arn=LAB_ROLE))
    assert {name for name in session.actions() if name.startswith("iam:")} == {
        "iam:GetRole", "iam:PassRole", "iam:SimulatePrincipalPolicy",
    }  # fmt: skip


def test_missing_permissions_are_named() -> None:
    session = Session(USER)
    session.decide({"iam:CreateRole": "implicitDeny", "ecr:PutImage": "explicitDeny"})
    with pytest.raises(CloudError) as caught:
        preflight.check_permissions(session.clients, Options())
    assert str(caught.value) == f"{USER} is not allowed: ecr:PutImage, iam:CreateRole"
    assert "facectl policy deployer" in str(caught.value.hint)


def test_a_denial_for_want_of_context_is_none() -> None:
    session = Session(USER)
    session.decide({"iam:CreateRole": "implicitDeny"}, missing=("aws:SourceIp",))
    assert preflight.check_permissions(session.clients, Options()).verdict == "ok"


def test_the_role_of_identity_center_is_simulated_with_its_path() -> None:
    name = "AWSReservedSSO_AdministratorAccess_0123456789abcdef"
    arn = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-west-1/{name}"
    session = Session(f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/ada@example.com")
    session.decide({})
    created = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def role(**_: Any) -> tuple[Any, dict[str, Any]]:
        return httpx.Response(200), {"Role": {"Arn": arn, "CreateDate": created}}

    session.clients.iam.meta.events.register("before-call.iam.GetRole", role)
    assert preflight.check_permissions(session.clients, Options()).verdict == "ok"
    assert session.principals() == {arn}


@pytest.mark.parametrize("code", ["NoSuchEntity", "AccessDenied"])
def test_a_role_that_cannot_be_seen_is_a_warning(code: str) -> None:
    session = Session(f"arn:aws:sts::{ACCOUNT}:assumed-role/somebody/ada")
    session.iam.add_client_error("get_role", code, "no", expected_params={"RoleName": "somebody"})
    found = preflight.check_permissions(session.clients, Options())
    assert found.verdict == "warning"
    assert str(found.next).startswith("facectl policy deployer")


def test_permissions_that_cannot_be_simulated_are_a_warning() -> None:
    session = Session(USER)
    session.iam.add_client_error("simulate_principal_policy", "AccessDenied", "no")
    assert preflight.check_permissions(session.clients, Options()).verdict == "warning"


def test_the_root_user_is_not_asked_about() -> None:
    session = Session(f"arn:aws:iam::{ACCOUNT}:root")
    assert preflight.check_permissions(session.clients, Options()).verdict == "ok"


@pytest.mark.parametrize(
    ("identity", "region", "text", "hint"),
    [
        (USER, "us-east-9", "Lambda has no region 'us-east-9'", "--region us-east-1"),
        (USER, "il-central-1", "no Function URLs in il-central-1", "--region us-east-1"),
        (LAB, "eu-west-1", "A learner lab can't use eu-west-1", "--region us-east-1"),
    ],
)
def test_regions_that_can_not_be_used(identity: str, region: str, text: str, hint: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        preflight.check_region(Session(identity, region).clients, Options())
    assert caught.value.hint == hint


@pytest.mark.parametrize(("identity", "region"), [(USER, "eu-west-1"), (LAB, "us-west-2")])
def test_regions_that_can(identity: str, region: str) -> None:
    assert preflight.check_region(Session(identity, region).clients, Options()).verdict == "ok"


def test_credentials_that_end_soon_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes, verdict in ((5, "warning"), (60, "ok")):
        expiry = datetime.now(timezone.utc) + timedelta(minutes=minutes)
        monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", expiry.isoformat())
        with mock_aws():
            clients = Clients(Deployment(asu_id="42", target="aws"))
            found = preflight.check_credentials(clients, Options())
        assert found.verdict == verdict
        assert f"until {expiry:%H:%M} UTC" in found.text


PUBLIC = (
    "--reserved-concurrency 5: this account's concurrency limit is 10, and AWS keeps 10 of it "
    "unreserved, so nothing can be reserved. The limit itself bounds a public URL to 10 frames "
    "at once"
)
PUBLIC_HINT = (
    "facectl deploy --auth none --max-concurrency 5   and --alarms EMAIL, which adds a budget"
)
TOO_MANY = (
    "--reserved-concurrency 950: this account's concurrency limit is 1000, and AWS keeps 100 of "
    "it unreserved, so 900 can be reserved"
)
TOO_MANY_HINT = "facectl deploy --reserved-concurrency 900"
WARM = (
    "--provisioned-concurrency 1, for each of two functions: this account's concurrency limit is "
    "10, and AWS keeps 10 of it unreserved"
)
WARM_HINT = "a higher quota: Service Quotas, AWS Lambda, Concurrent executions"
UNEQUAL = "--provisioned-concurrency 5 is more than --reserved-concurrency 3, which AWS refuses"
UNEQUAL_HINT = "--reserved-concurrency 5   or   --provisioned-concurrency 3"


@pytest.mark.parametrize(
    ("options", "limit", "text", "hint"),
    [
        (Options(reserved_concurrency=5, auth="none"), 10, PUBLIC, PUBLIC_HINT),
        (Options(reserved_concurrency=950), 1000, TOO_MANY, TOO_MANY_HINT),
        (Options(provisioned_concurrency=1), 10, WARM, WARM_HINT),
        (Options(provisioned_concurrency=5, reserved_concurrency=3), 1000, UNEQUAL, UNEQUAL_HINT),
    ],
)
def test_concurrency_that_can_not_be_had(
    options: Options, limit: int, text: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_reserved(options, Concurrency(limit, limit))
    assert (str(caught.value), caught.value.hint) == (text, hint)


@pytest.mark.parametrize(
    ("limit", "unreserved", "own", "reservable"),
    [(1000, 1000, 0, 900), (1000, 990, 10, 900), (1000, 150, 0, 50), (105, 105, 0, 5),
     (100, 100, 0, 0), (50, 50, 0, 0), (10, 10, 0, 0)],
)  # fmt: skip
def test_what_can_be_reserved(limit: int, unreserved: int, own: int, reservable: int) -> None:
    found = Concurrency(limit, unreserved, own)
    assert found.reservable == reservable
    if reservable:
        check_reserved(Options(reserved_concurrency=reservable), found)
    with pytest.raises(InputError):
        check_reserved(Options(reserved_concurrency=reservable + 1), found)


@pytest.mark.parametrize(
    ("options", "limit", "verdict", "next_"),
    [
        (Options(), 1000, "ok", None),
        (Options(), 10, "warning", preflight._QUOTA_HINT),
        (Options(memory=4096), 10, "warning", "facectl deploy --memory 3008"),
        (Options(memory=4096), 1000, "ok", None),
        (Options(max_concurrency=15), 20, "warning", "facectl deploy --max-concurrency 10"),
        (Options(max_concurrency=50), 100, "ok", None),
    ],
)
def test_quotas(options: Options, limit: int, verdict: str, next_: str | None) -> None:
    session = Session(USER)
    limits(session.functions, limit, limit, None)
    found = preflight.check_quotas(session.clients, options)
    assert (found.verdict, found.next) == (verdict, next_)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (Options(pollers=(2, 4)), "facectl deploy --pollers 2:2"),
        (Options(max_concurrency=51), "facectl deploy --max-concurrency 25"),
    ],
)
def test_concurrency_of_the_trigger_that_the_account_does_not_have(
    options: Options, hint: str
) -> None:
    session = Session(USER)
    limits(session.functions, 50, 50, None)
    with pytest.raises(InputError) as caught:
        preflight.check_quotas(session.clients, options)
    assert caught.value.hint == hint


def test_a_limit_that_cannot_be_read_is_a_warning() -> None:
    session = Session(USER)
    session.functions.add_client_error("get_account_settings", "AccessDeniedException", "no")
    found = preflight.check_quotas(session.clients, Options())
    assert (found.verdict, found.next) == ("warning", "allow lambda:GetAccountSettings")


def test_a_zip_is_refused_on_aws() -> None:
    with pytest.raises(InputError, match="--package zip has no third-party packages") as caught:
        preflight.check_packaging(Session(USER).clients, Options(packaging="zip"))
    assert caught.value.hint == "facectl deploy --package image"


def test_a_timeout_that_can_lock_a_function_out_is_a_warning() -> None:
    for seconds, verdict in ((14, "warning"), (15, "ok")):
        found = preflight.check_packaging(Session(USER).clients, Options(timeout=seconds))
        assert found.verdict == verdict


def image(clients: Clients, **manifest: Any) -> str:
    """The URI of an image with this manifest in the account's registry."""
    clients.ecr.create_repository(repositoryName="own")
    text = json.dumps({"schemaVersion": 2, **manifest})
    media_type = "application/vnd.oci.image.manifest.v1+json"
    clients.ecr.put_image(
        repositoryName="own", imageManifest=text, imageManifestMediaType=media_type, imageTag="1"
    )
    return f"{REGISTRY}/own:1"


@pytest.fixture
def own_images(monkeypatch: pytest.MonkeyPatch) -> Any:
    """moto's clients, with images for arm64: moto keeps no layers."""
    with mock_aws():
        clients = Clients(Deployment(asu_id="42", target="aws"))
        ecr = clients.ecr
        answer = {"downloadUrl": "https://layers.example/config"}
        monkeypatch.setattr(ecr, "get_download_url_for_layer", lambda **_: answer)
        request = httpx.Request("GET", answer["downloadUrl"])
        monkeypatch.setattr(
            image_checks.httpx,
            "get",
            lambda *_, **__: httpx.Response(200, json={"architecture": "arm64"}, request=request),
        )
        yield clients


def test_an_image_of_another_architecture_is_refused(own_images: Clients) -> None:
    uri = image(own_images, config={"digest": "sha256:0"})
    image_checks.check_image(own_images, uri, "arm64")
    with pytest.raises(InputError, match="built for arm64, but the functions run on x86_64") as e:
        image_checks.check_image(own_images, uri, "x86_64")
    assert e.value.hint == "facectl deploy --architecture arm64"


def test_an_image_of_several_platforms_is_refused(own_images: Clients) -> None:
    uri = image(own_images, manifests=[])
    with pytest.raises(InputError, match="images of several platforms"):
        image_checks.check_image(own_images, uri, "x86_64")


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("x/d:1", "Lambda takes images from Amazon ECR"),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/own:1", "in the function's region, us-east-1"),
        (f"{REGISTRY}/own:2", f"There is no image {REGISTRY}/own:2"),
    ],
)
def test_images_that_lambda_can_not_take(own_images: Clients, uri: str, text: str) -> None:
    image(own_images, config={"digest": "sha256:0"})
    with pytest.raises(InputError, match=text):
        image_checks.check_image(own_images, uri, "x86_64")


def test_an_image_of_another_account_is_not_looked_at(own_images: Clients) -> None:
    uri = "210987654321.dkr.ecr.us-east-1.amazonaws.com/own:1"
    assert "was not checked" in str(image_checks.check_image(own_images, uri, "x86_64"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--package", "zip"), "--package zip has no third-party packages"),
        (("--reserved-concurrency", "901"), "so 900 can be reserved"),
        (("--pollers", "2:51"), "--pollers 2:51"),
        (("--max-concurrency", "1000", "--region", "ca-west-1"), "no Function URLs in ca-west-1"),
        (("--role-arn", LAB_ROLE), f"There is no role {LAB_ROLE}"),
        (("--image-uri", "face-detection=x", "--image-uri", "face-recognition=y"), "Amazon ECR"),
    ],
)
def test_a_problem_ends_a_deploy_before_anything_is_created_or_recorded(
    cloud: Clients, arguments: tuple[str, ...], text: str
) -> None:
    done = facectl(*FIRST, *arguments)
    assert isinstance(done.exception, FacectlError), done.output
    assert text in str(done.exception)
    assert done.exception.hint
    assert records.known() == []
    assert cloud.sqs.list_queues().get("QueueUrls", []) == []
    assert cloud.s3.list_buckets()["Buckets"] == []
    assert cloud.iam.list_roles()["Roles"] == []


def test_a_refused_option_is_not_recorded_with_a_deployment_that_exists(cloud: Clients) -> None:
    here = Deployment("42", "aws", account=ACCOUNT)
    remember(here, Options(memory=2048))
    facectl(*FIRST, "--reserved-concurrency", "901")
    assert records.options(here.key) == {"memory": 2048}


@pytest.mark.usefixtures("cloud")
def test_a_warning_is_printed_and_the_deploy_goes_on() -> None:
    done = facectl(*FIRST, "--timeout", "10")
    assert done.exit_code == 0, done.output
    assert "Warning: --timeout 10: an initialisation of more than 10 s" in done.stderr
    assert "Next: --timeout 15 or more" in done.stderr
