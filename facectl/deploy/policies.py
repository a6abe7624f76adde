"""The JSON policies of a deployment: trust policies, role policies, queue policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from facectl.deploy.models import Account
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from lambda_src.gallery.parts import ROOT
from lambda_src.stages.attempts import PREFIX as ATTEMPTS


def canonical(document: str | Mapping[str, object]) -> str:
    """A policy as JSON with sorted keys and no spaces, so that equal policies compare equal."""
    parsed = json.loads(document) if isinstance(document, str) else document
    return json.dumps(parsed, sort_keys=True, separators=(",", ":"))


def lambda_trust() -> str:
    """Only Lambda may assume the role."""
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    )


def detection(names: Names, account: Account) -> str:
    """face-detection may write its log and send to both queues (it answers faceless frames)."""
    return _policy(
        _logging(DETECTION_FUNCTION, account),
        {
            "Sid": "SendFacesAndAnswers",
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": [
                account.queue_arn(names.request_queue),
                account.queue_arn(names.response_queue),
            ],
        },
    )


def recognition(names: Names, account: Account, *, batches_by_name: bool = False) -> str:
    """face-recognition may read the request queue and the gallery, and send responses.

    `batches_by_name`: MiniStack requires the action SendMessageBatch; AWS includes
    it in SendMessage.
    """
    sending = ["sqs:SendMessage", "sqs:SendMessageBatch"] if batches_by_name else "sqs:SendMessage"
    bucket = account.bucket_arn(names.bucket(account.number, account.region))
    return _policy(
        _logging(RECOGNITION_FUNCTION, account),
        {
            "Sid": "TakeFaces",
            "Effect": "Allow",
            "Action": [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            ],
            "Resource": account.queue_arn(names.request_queue),
        },
        {
            "Sid": "SendAnswers",
            "Effect": "Allow",
            "Action": sending,
            "Resource": account.queue_arn(names.response_queue),
        },
        {
            "Sid": "ReadGallery",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            # The manifest and parts of every space, so that a new model needs no new policy.
            # No slash before them: facectl 1 has one gallery directly below the root, which
            # its functions read until their code is replaced.
            "Resource": [f"{bucket}/{ROOT}/*current.json", f"{bucket}/{ROOT}/*parts/*"],
        },
        {
            "Sid": "RecordAttempts",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": f"{bucket}/{ATTEMPTS}*",
        },
        # Without it S3 answers 403 instead of 404 while the gallery is empty.
        {
            "Sid": "KnowThatThereIsNone",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
        },
    )


def https_only(queue: str, account: Account) -> str:
    """A queue policy that denies calls without TLS."""
    return _policy(
        {
            "Sid": "RefusePlainHttp",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": account.queue_arn(queue),
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def _logging(function: str, account: Account) -> dict[str, Any]:
    return {
        "Sid": "WriteLog",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{account.log_group_arn(Names.log_group(function))}:*",
    }


def _policy(*statements: dict[str, Any]) -> str:
    return canonical({"Version": "2012-10-17", "Statement": list(statements)})
