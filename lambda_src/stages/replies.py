"""Sends results to the response queue, or to the reply queue that the client asked for."""

from __future__ import annotations

from collections.abc import Sequence

from lambda_src import log
from lambda_src.aws import Aws, AwsError
from lambda_src.contract import reply_queue

# What SQS says about a queue that does not exist, by the protocol of the call.
_GONE = ("QueueDoesNotExist", "NonExistentQueue")


def send_answer(aws: Aws, response_queue: str, reply: str, body: str) -> str:
    """Send one result; returns its message id. Raises AwsError.

    The result of a client that has removed its reply queue goes to the response queue.
    """
    try:
        return aws.send(reply_queue(response_queue, reply), body)
    except AwsError as error:
        if not reply or not _is_gone(str(error)):
            raise
        _note_gone(reply, 1)
        return aws.send(response_queue, body)


def send_answers(
    aws: Aws, response_queue: str, answers: Sequence[tuple[str, str]]
) -> dict[int, str]:
    """Send results, each with its reply; returns the errors of failed ones by index.

    There is one call for each queue, and for each ten results.
    """
    queues: dict[str, list[int]] = {}
    for index, (reply, _) in enumerate(answers):
        queues.setdefault(reply, []).append(index)
    failed: dict[int, str] = {}
    for reply, indices in queues.items():
        unsent = _send(aws, reply_queue(response_queue, reply), answers, indices)
        gone = [index for index, problem in unsent.items() if reply and _is_gone(problem)]
        if gone:
            _note_gone(reply, len(gone))
            unsent = {index: problem for index, problem in unsent.items() if index not in gone}
            unsent.update(_send(aws, response_queue, answers, gone))
        failed.update(unsent)
    return failed


def _send(
    aws: Aws, queue: str, answers: Sequence[tuple[str, str]], indices: Sequence[int]
) -> dict[int, str]:
    errors = aws.send_many(queue, [answers[index][1] for index in indices])
    return {indices[place]: problem for place, problem in errors.items()}


def _is_gone(problem: str) -> bool:
    return any(code in problem for code in _GONE)


def _note_gone(reply: str, results: int) -> None:
    log.info("reply_queue_gone", None, reply=reply, results=results)
