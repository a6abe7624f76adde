"""Deploy, deploy again and destroy, from an empty account, in an AWS as its documentation says."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from driver import isolate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto_account import assert_nothing_left, keep_conditions
from slow_aws import Rules, SlowAws
from typer.testing import CliRunner, Result

from facectl import records
from facectl.aws import Clients
from facectl.cli.app import app
from facectl.context import Deployment
from facectl.deploy import deployer
from facectl.deploy.desired import resources
from facectl.deploy.options import Options
from facectl.deploy.preflight import preflight
from facectl.deploy.resources import Context
from facectl.errors import CloudError, InputError
from facectl.models import store
from facectl.stream.delivery import FrameUndelivered, FunctionUrlRefused
from lambda_src.contract import FaceMessage, FrameRequest, FrameResult
from lambda_src.vision.store import NETWORKS, Model

ACCOUNT = "123456789012"
HERE = Deployment("42", "aws", account=ACCOUNT)
REGISTRY = "210987654321.dkr.ecr.us-east-1.amazonaws.com"
IMAGES = tuple(f"{name}={REGISTRY}/{name}:1" for name in ("face-detection", "face-recognition"))
# An interruption that an expired session or a failed function is: the next deploy goes on.
ATTEMPTS = 8


class Url:
    """The Function URL of a slow account; what it accepts is answered at once."""

    def __init__(self, aws: SlowAws, clients: Clients) -> None:
        self._aws = aws
        self._clients = clients

    def post(self, request: FrameRequest) -> None:
        status = self._aws.url_status()
        if not self._aws.wake("face-detection"):
            raise FrameUndelivered("502: Bad Gateway")
        if status != 200:
            raise FunctionUrlRefused(f"{status}: Forbidden", status=status, hint="facectl deploy")
        self.answer(FrameResult(request.request_id, "No-Face"))

    def send_face(self, body: str) -> None:
        self.answer(FrameResult(FaceMessage.parse(body).request_id, "Unknown"))

    def answer(self, result: FrameResult) -> None:
        name, sqs = self._clients.deployment.names.response_queue, self._clients.sqs
        with self._aws.outside():
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            sqs.send_message(QueueUrl=url, MessageBody=result.serialise())

    def close(self) -> None:
        """Nothing to close."""


def tiny_model() -> Model:
    """An installed model whose networks are never loaded."""
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": False, "weights": "vggface2"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
    return store.find("tiny")


homes = itertools.count()


@contextmanager
def account(folder: Path, rules: Rules) -> Iterator[tuple[SlowAws, Model]]:
    """An empty account with these rules, and a home without a deployment."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        isolate(patch, folder / f"home-{next(homes)}")
        keep_conditions(patch)
        aws = SlowAws(rules)
        aws.install(patch)
        there = functools.partial(Context, clock=aws.clock, sleep=aws.clock.sleep)
        patch.setattr(deployer, "Context", there)
        url = Url(aws, Clients(HERE))
        patch.setattr(deployer, "FunctionUrlClient", lambda *_, **__: url)
        patch.setattr(deployer, "request_queue", lambda *_: url.send_face)
        yield aws, tiny_model()


def deploy(model: Model, options: Options) -> deployer.Plan:
    plan = deployer.prepare(HERE, model, options)
    deployer.apply(plan)
    deployer.check(plan, deployer.finish(plan))
    return plan


def deploy_with_patience(aws: SlowAws, model: Model, options: Options) -> list[str]:
    """Deploy, and again after each error, with new credentials; returns the errors."""
    errors: list[str] = []
    while (error := failure(model, options)) is not None:
        assert error.hint, error
        errors.append(str(error))
        assert len(errors) < ATTEMPTS, errors
        aws.renew()
    return errors


def failure(model: Model, options: Options) -> CloudError | None:
    """The error with which a deploy ends; None if it succeeds."""
    try:
        deploy(model, options)
    except CloudError as error:
        return error
    return None


def times(*values: float) -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, *values])


RULES = st.builds(
    Rules,
    role_seconds=times(15),
    policy_seconds=times(10),
    pending_seconds=times(30, 120),
    update_seconds=times(8),
    fails_once=st.booleans(),
    url_seconds=times(20, 50),
    queue_seconds=times(1, 5),
    mapping_seconds=times(25),
    deleting_seconds=times(20, 59),
    lag_seconds=times(6, 20),
    throttle_every=st.sampled_from([0, 2, 5]),
    lose_answers=st.booleans(),
    expires_at=st.one_of(st.just(0), st.integers(5, 90)),
    limit=st.sampled_from([10, 1000]),
)
SLOWEST = Rules(
    role_seconds=15, policy_seconds=10, pending_seconds=120, update_seconds=8, fails_once=True,
    url_seconds=50, queue_seconds=5, mapping_seconds=25, deleting_seconds=59, lag_seconds=20,
    throttle_every=2, lose_answers=True, expires_at=60, limit=10,
)  # fmt: skip


@settings(max_examples=8)
@example(SLOWEST, "none", True)
@example(Rules(), "iam", False)
@example(Rules(fails_once=True, lose_answers=True, limit=10), "iam", False)
@example(Rules(throttle_every=5, lose_answers=True, limit=10, memory=10_240), "iam", False)
@given(RULES, st.sampled_from(["iam", "none"]), st.booleans())
def test_a_deployments_life_in_a_slow_and_strict_account(
    tmp_path_factory: pytest.TempPathFactory, rules: Rules, auth: Any, again: bool
) -> None:
    options = Options(image_uris=IMAGES, auth=auth)
    with account(tmp_path_factory.mktemp("slow"), rules) as (aws, model):
        errors = deploy_with_patience(aws, model, options)
        # Only an expired session and a function that Lambda could not create end a deploy.
        assert len(errors) <= rules.fails_once + bool(rules.expires_at)
        assert all("xpired" in text or "did not become ready" in text for text in errors)
        aws.clock.sleep(rules.lag_seconds)

        second = deploy(model, options)
        assert second.steps == ()
        assert found(second) == wanted(second)

        larger = Options(image_uris=IMAGES, auth=auth, memory=2048, timeout=30)
        assert {step.verb for step in deploy(model, larger).steps} == {"update"}

        destroy()
        if again:
            # At once: queues that are being deleted are shown, and their names are not free.
            third = deploy(model, options)
            aws.clock.sleep(60)
            assert found(third) == wanted(third)
            destroy()
        aws.clock.sleep(60)
        assert_nothing_left(Clients(HERE))


def found(plan: deployer.Plan) -> dict[Any, Any]:
    return dict(deployer.read(plan.clients, plan.desired))


def wanted(plan: deployer.Plan) -> dict[Any, Any]:
    return {(each.kind, each.name): each for each in resources(plan.desired)}


def destroy() -> None:
    deployer.apply(deployer.prepare_removal(HERE))
    records.forget(HERE.key)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(role_seconds=15),
        Rules(policy_seconds=10),
        Rules(pending_seconds=120),
        Rules(queue_seconds=1),
        Rules(url_seconds=50),
        Rules(mapping_seconds=25),
        Rules(throttle_every=2),
        Rules(lose_answers=True),
        Rules(limit=10),
    ],
    ids=lambda rules: ",".join(k for k, v in vars(rules).items() if v != vars(Rules())[k]),
)
def test_one_deploy_is_enough(tmp_path: Path, rules: Rules) -> None:
    with account(tmp_path, rules) as (aws, model):
        deploy(model, Options(image_uris=IMAGES, auth="none"))
        assert aws.clock() < 600


@pytest.mark.parametrize(
    ("rules", "operation"),
    [
        (Rules(role_seconds=15), "lambda:CreateFunction"),
        (Rules(queue_seconds=5), "sqs:CreateQueue"),
        (Rules(policy_seconds=30), "lambda:CreateEventSourceMapping"),
        (Rules(url_seconds=20, mapping_seconds=25), "lambda:ListEventSourceMappings"),
    ],
)
def test_a_rule_refuses_what_a_deploy_repeats(tmp_path: Path, rules: Rules, operation: str) -> None:
    """A rule that refused nothing would prove nothing."""
    counts = []
    for each in (Rules(), rules):
        with account(tmp_path, each) as (aws, model):
            deploy(model, Options(image_uris=IMAGES))
            counts.append(aws.calls.count(operation))
    assert counts[1] > counts[0]


@pytest.mark.parametrize("seconds", [30, 59])
def test_a_queue_that_is_being_deleted_is_waited_for(tmp_path: Path, seconds: float) -> None:
    with account(tmp_path, Rules(deleting_seconds=seconds)) as (aws, model):
        options = Options(image_uris=IMAGES)
        deploy(model, options)
        destroy()
        plan = deployer.prepare(HERE, model, options)
        queues = [step for step in plan.steps if step.resource.kind == "queue"]
        assert {step.verb for step in queues} == {"replace"}
        told: list[str] = []
        progress = deployer.Progress()
        progress.tell = told.append  # type: ignore[method-assign]
        deployer.apply(plan, progress)
        deployer.check(plan, deployer.finish(plan))
        assert any("SQS deletes 42-req-dlq" in line for line in told)
        if seconds == 30:
            assert any("SQS frees the name of a deleted queue" in line for line in told)
        aws.clock.sleep(120)
        assert found(plan) == wanted(plan)
        assert deploy(model, options).steps == ()


def test_a_deletion_that_was_interrupted_is_repeated(tmp_path: Path) -> None:
    """The queue is marked, and was not deleted: neither a deploy nor a destroy forgets it."""
    with account(tmp_path, Rules(deleting_seconds=5)) as (aws, model):
        options = Options(image_uris=IMAGES)
        deploy(model, options)
        with aws.outside():
            url = Clients(HERE).sqs.get_queue_url(QueueName="42-req-queue")["QueueUrl"]
            Clients(HERE).sqs.tag_queue(QueueUrl=url, Tags={"facectl:deleted": "true"})
        plan = deploy(model, options)
        assert [step.verb for step in plan.steps if step.resource.kind == "queue"] == ["replace"]
        assert deploy(model, options).steps == ()
        with aws.outside():
            Clients(HERE).sqs.tag_queue(QueueUrl=url, Tags={"facectl:deleted": "true"})
        destroy()
        aws.clock.sleep(60)
        assert_nothing_left(Clients(HERE))


def test_a_queue_that_does_not_go_is_an_error(tmp_path: Path) -> None:
    with account(tmp_path, Rules(deleting_seconds=10_000)) as (_aws, model):
        deploy(model, Options(image_uris=IMAGES))
        destroy()
        with pytest.raises(CloudError, match="is still being deleted") as caught:
            deploy(model, Options(image_uris=IMAGES))
        assert "facectl deploy" in str(caught.value.hint)


HERE_FLAGS = ("--asu-id", "42", "--target", "aws", "--region", "us-east-1")


def reply_queue(clients: Clients) -> str:
    """A reply queue, as a client that was killed leaves it."""
    name = HERE.names.reply_queue("0" * 32)
    tags = {"facectl:asu-id": "42", "facectl:expires": "0"}
    clients.sqs.create_queue(QueueName=name, tags=tags)
    return name


def run_destroy(*arguments: str) -> Result:
    """Without an answer to a question: a destroy that asks would be aborted."""
    done = CliRunner().invoke(app, ["destroy", *HERE_FLAGS, *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.mark.parametrize("seconds", [30, 59])
def test_a_second_destroy_waits_for_queues_that_are_being_deleted(
    tmp_path: Path, seconds: float
) -> None:
    with account(tmp_path, Rules(deleting_seconds=seconds)) as (aws, model):
        deploy(model, Options(image_uris=IMAGES))
        reply = reply_queue(Clients(HERE))
        first = run_destroy("--yes")
        assert " resources removed" in first.stdout
        began = aws.clock()
        second = run_destroy()
        assert second.stdout == (
            "Nothing to remove\nSQS has finished deleting 4 queues of an earlier destroy\n"
        )
        assert 5 < aws.clock() - began < 90
        with aws.outside():
            assert_nothing_left(Clients(HERE))
        assert run_destroy().stdout == "Nothing to remove\n"

        deploy(model, Options(image_uris=IMAGES))
        reply_queue(Clients(HERE))
        run_destroy("--yes")
        told = json.loads(run_destroy("--json").stdout)
        assert told["steps"] == []
        assert set(told["deleted_before"]) == {
            "42-req-dlq", "42-req-queue", "42-resp-queue", reply,
        }  # fmt: skip


def test_a_second_destroy_removes_and_asks_about_what_the_first_left(tmp_path: Path) -> None:
    with account(tmp_path, Rules(deleting_seconds=30)) as (aws, model):
        deploy(model, Options(image_uris=IMAGES))
        run_destroy("--yes")
        with aws.outside():
            Clients(HERE).logs.create_log_group(
                logGroupName="/aws/lambda/face-detection", tags={"facectl:asu-id": "42"}
            )
        asked = CliRunner().invoke(app, ["destroy", *HERE_FLAGS], input="n\n")
        assert asked.exit_code == 1
        assert "delete log group /aws/lambda/face-detection\n1 steps" in " ".join(
            asked.stdout.split(" ")
        )
        assert run_destroy("--yes").stdout == (
            "1 resources removed\nSQS has finished deleting 3 queues of an earlier destroy\n"
        )
        with aws.outside():
            assert_nothing_left(Clients(HERE))


def test_queues_that_do_not_go_are_an_error_of_destroy_too(tmp_path: Path) -> None:
    with account(tmp_path, Rules(deleting_seconds=10_000)) as (_aws, model):
        deploy(model, Options(image_uris=IMAGES))
        run_destroy("--yes")
        failed = CliRunner().invoke(app, ["destroy", *HERE_FLAGS])
        assert isinstance(failed.exception, CloudError)
        assert "is still being deleted" in str(failed.exception)
        assert failed.exception.hint == "facectl deploy   or   facectl destroy, in some minutes"


def test_a_reservation_that_the_account_can_not_have_changes_nothing(tmp_path: Path) -> None:
    options = Options(image_uris=IMAGES, auth="none", reserved_concurrency=5)
    with account(tmp_path, Rules(limit=10)) as (aws, model):
        with pytest.raises(InputError, match="so nothing can be reserved") as caught:
            deploy(model, options)
        assert "--max-concurrency 5" in str(caught.value.hint)
        assert [call for call in aws.calls if ":Create" in call or ":Put" in call] == []
        assert records.known() == []
        # What the hint says works there.
        deploy(model, Options(image_uris=IMAGES, auth="none", max_concurrency=5))


def test_a_public_url_of_a_small_account_is_not_reserved(tmp_path: Path) -> None:
    with account(tmp_path, Rules(limit=10)) as (aws, model):
        plan = deploy(model, Options(image_uris=IMAGES, auth="none"))
        assert aws.reserved == {}
        assert [r.verdict for r in plan.warnings] == ["warning", "warning"]


def test_preflight_changes_nothing(tmp_path: Path) -> None:
    with account(tmp_path, Rules()) as (aws, _model):
        results = list(preflight(Clients(HERE), Options(image_uris=IMAGES)))
        assert len(results) == 6
        reads = ("Get", "List", "Describe", "Simulate")
        assert all(call.partition(":")[2].startswith(reads) for call in aws.calls)


def test_a_new_account_that_allows_less_memory_says_how_much(tmp_path: Path) -> None:
    options = Options(image_uris=IMAGES, memory=4096)
    with account(tmp_path, Rules(limit=10, memory=3008)) as (_aws, model):
        plan = deployer.prepare(HERE, model, options)
        assert any("3008 MB per function" in result.text for result in plan.warnings)
        with pytest.raises(CloudError, match="at most 3008 MB per function, not 4096") as caught:
            deployer.apply(plan)
        assert caught.value.hint == "facectl deploy --memory 3008"
        deploy(model, Options(image_uris=IMAGES, memory=3008))


def test_a_function_that_somebody_deleted_is_not_waited_for_long(tmp_path: Path) -> None:
    with account(tmp_path, Rules()) as (aws, model):
        plan = deploy(model, Options(image_uris=IMAGES))
        Clients(HERE).functions.delete_function(FunctionName="face-recognition")
        before = aws.clock()
        with pytest.raises(CloudError, match="did not become ready: it does not exist"):
            deployer.check(plan, plan.clients.deployment)
        assert aws.clock() - before < 60


def test_functions_that_were_idle_for_weeks_are_woken_up(tmp_path: Path) -> None:
    with account(tmp_path, Rules(pending_seconds=40)) as (aws, model):
        options = Options(image_uris=IMAGES)
        plan = deploy(model, options)
        aws.clock.sleep(30 * 86_400)
        aws.idle = {"face-detection"}
        before = aws.clock()
        assert deploy(model, options).steps == ()
        assert aws.clock() - before > 40
        # A function that answers errors is not asked twice.
        aws.wake = lambda _name: False  # type: ignore[method-assign]
        with pytest.raises(CloudError, match="face-detection did not accept the probe frame"):
            deployer.check(plan, plan.clients.deployment)


def test_destroy_ends_in_a_session_that_may_read_its_given_role_only(tmp_path: Path) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/LabRole"
    with account(tmp_path, Rules(limit=10)) as (aws, model):
        with aws.outside():
            Clients(HERE).iam.create_role(RoleName="LabRole", AssumeRolePolicyDocument="{}")
        deploy(model, Options(image_uris=IMAGES, role_arn=role))
        aws.rules = Rules(limit=10, learner_lab=True)
        destroy()
        with aws.outside():
            assert Clients(HERE).functions.list_functions()["Functions"] == []
            assert len(Clients(HERE).iam.list_roles()["Roles"]) == 1
