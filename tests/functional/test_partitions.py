"""Everything that names AWS does so in the partition of its region, China's and GovCloud's too."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy.access import account_of, read_account
from facectl.deploy.desired import cloud, resources
from facectl.deploy.models import DesiredState, Package, Packages
from facectl.logs.source import LiveTail
from facectl.naming import FUNCTIONS, Names
from lambda_src.aws import Aws, Credentials, Request

NUMBER = "123456789012"
PLACES = [
    ("us-east-1", "aws", "amazonaws.com"),
    ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
]


def session(region: str, partition: str) -> Clients:
    clients = Clients(Deployment("42", "aws", region))
    stub = Stubber(clients.sts)
    arn = f"arn:{partition}:iam::{NUMBER}:user/ada"
    stub.add_response("get_caller_identity", {"Arn": arn, "Account": NUMBER, "UserId": "x"})
    stub.activate()
    return clients


@pytest.mark.parametrize(("region", "partition", "suffix"), PLACES)
def test_every_arn_and_address_of_a_deployment(region: str, partition: str, suffix: str) -> None:
    account = read_account(session(region, partition))
    assert account == account_of(Deployment("42", "aws", region, account=NUMBER))
    package = Package("image", account.image_uri("x:1"))
    state = DesiredState(
        Names("42"), account, cloud("aws"), Packages(package, package), auth="none"
    )
    text = json.dumps([dataclasses.asdict(each) for each in resources(state)], default=str)
    arns = re.findall(r"arn:([^:]+):", text)
    assert len(arns) > 15
    assert set(arns) == {partition}
    # The service principal of Lambda has one name in every partition.
    domains = re.findall(r"amazonaws\.com(?:\.cn)?", text.replace("lambda.amazonaws.com", ""))
    assert domains
    assert set(domains) == {suffix}


@pytest.mark.parametrize(("region", "partition", "suffix"), PLACES)
def test_a_function_reads_its_gallery_at_the_domain_of_its_region(
    monkeypatch: pytest.MonkeyPatch, region: str, partition: str, suffix: str
) -> None:
    asked: list[urllib.parse.SplitResult] = []

    def call(_self: Aws, _service: str, request: Request) -> Any:
        asked.append(request.url)
        raise ConnectionError

    monkeypatch.setattr(Aws, "_call", call)
    with pytest.raises(ConnectionError):
        Aws(Credentials("a", "b"), region).get_object("bucket", "key")
    assert [url.netloc for url in asked] == [f"bucket.s3.{region}.{suffix}"]


@pytest.mark.parametrize(("region", "partition", "suffix"), PLACES)
def test_live_tail_names_log_groups_in_the_partition(
    region: str, partition: str, suffix: str
) -> None:
    clients = session(region, partition)
    groups: list[str] = []

    class Stream(list[Any]):
        def close(self) -> None:
            """Nothing to close."""

    def start(logGroupIdentifiers: list[str]) -> dict[str, Any]:  # noqa: N803 - botocore's name
        groups.extend(logGroupIdentifiers)
        return {"responseStream": Stream()}

    clients.logs.start_live_tail = start  # type: ignore[method-assign,assignment]
    LiveTail(clients, FUNCTIONS)
    assert groups == [
        f"arn:{partition}:logs:{region}:{NUMBER}:log-group:/aws/lambda/{name}" for name in FUNCTIONS
    ]


def test_partitions_and_domains_are_botocores() -> None:
    found = botocore.session.get_session()
    endpoints = found.get_component("data_loader").load_data("endpoints")
    known = {"aws", "aws-cn", "aws-us-gov"}
    checked = 0
    for partition in endpoints["partitions"]:
        if partition["partition"] not in known:
            continue
        for region in partition["regions"]:
            account = account_of(Deployment("42", "aws", region))
            assert account.partition == partition["partition"]
            assert account.queue_endpoint == f"https://sqs.{region}.{partition['dnsSuffix']}"
            checked += 1
    assert checked > 30
