"""The JSON policies of a deployment: who may take a role, what it allows, what a queue refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from facectl.deploy.models import Account
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from lambda_src.gallery.parts import ROOT
from lambda_src.stages.attempts import PREFIX as ATTEMPTS


def canonical(document: str | Mapping[str, object]) -> str:
    """A policy with sorted keys and no blanks, so that equal policies are equal texts."""
    parsed = json.loads(document) if isinstance(document, str) else document
    return json.dumps(parsed, sort_keys=True, separators=(",", ":"))


def lambda_trust() -> str:
    """Lambda may take the role, nobody else."""
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    )


def detection(names: Names, account: Account) -> str:
    """face-detection writes its log and to both queues (a frame without a face ends with it)."""
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
    """face-recognition reads the request queue and the gallery, and answers.

    `batches_by_name`: SendMessageBatch needs an action of its own name, as
    MiniStack has it; on AWS it is part of SendMessage.
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
            # The manifest and the parts of every space, so that a change of model leaves
            # the policy as it is. Without a slash before them: facectl 1 had one gallery,
            # right below the root, which a function reads until its code is replaced.
            "Resource": [f"{bucket}/{ROOT}/*current.json", f"{bucket}/{ROOT}/*parts/*"],
        },
        {
            "Sid": "RecordAttempts",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": f"{bucket}/{ATTEMPTS}*",
        },
        # Without it S3 answers 403, not 404, where nobody has been enrolled yet.
        {
            "Sid": "KnowThatThereIsNone",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
        },
    )


def https_only(queue: str, account: Account) -> str:
    """The queue refuses every call that is not made over TLS."""
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
