"""What an error of AWS means: missing, denied, refused, expired, throttled. No calls."""

from __future__ import annotations

from collections.abc import Collection

from botocore import exceptions as boto

from facectl.errors import CloudError, NotRunningError

# Error codes for a resource that does not exist.
MISSING = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "ImageNotFoundException",
        "LifecyclePolicyNotFoundException",
        "NoSuchBucket",
        "NoSuchBucketPolicy",
        "NoSuchEntity",
        "NoSuchKey",
        "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchTagSet",
        # SNS, and below NotFoundException of Budgets and ResourceNotFound of CloudWatch.
        "NotFound",
        "NotFoundException",
        "ProvisionedConcurrencyConfigNotFoundException",
        "QueueDoesNotExist",
        "RepositoryNotFoundException",
        "RepositoryPolicyNotFoundException",
        "ResourceNotFound",
        "ResourceNotFoundException",
        "ServerSideEncryptionConfigurationNotFoundError",
    }
)
_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
)
_INVALID = frozenset({"InvalidParameter", "InvalidParameterValue", "ValidationError"})
# Codes for expired, revoked and incomplete credentials. Services differ: S3 and STS say
# ExpiredToken, services with JSON protocols ExpiredTokenException; for a key without its
# session token, IAM and STS say InvalidClientTokenId, Lambda and ECR UnrecognizedClientException.
EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "RequestExpired",
        "UnrecognizedClientException",
    }
)
_THROTTLED = ("Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown")
# A signature is valid for a few minutes around its timestamp.
SKEWED = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})


def error_code(error: boto.ClientError) -> str:
    """AWS's code of an error, such as `ResourceNotFoundException`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: boto.ClientError) -> str:
    """AWS's message of an error."""
    return str(error.response.get("Error", {}).get("Message", ""))


def is_transient(error: Exception) -> bool:
    """Whether it is an error of `cloud_errors` and transient: no response, throttled or 5xx."""
    if isinstance(error, NotRunningError):
        return True
    cause = error.__cause__
    return isinstance(cause, boto.ClientError) and is_overloaded(cause)


def is_overloaded(error: boto.ClientError) -> bool:
    """Whether AWS failed (5xx) or throttled the call; Lambda and ECR say TooManyRequests."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or any(word in error_code(error) for word in _THROTTLED)


def is_missing(error: CloudError) -> bool:
    """Whether an error of `cloud_errors` reports a missing resource."""
    return _is_one_of(error, MISSING)


def is_denied(error: CloudError) -> bool:
    """Whether an error of `cloud_errors` reports missing permissions."""
    return _is_one_of(error, _DENIED)


def is_refused(error: CloudError) -> bool:
    """Whether an error of `cloud_errors` reports a call that would fail again: a wrong argument."""
    return _is_one_of(error, _INVALID)


def is_expired(error: CloudError) -> bool:
    """Whether an error of `cloud_errors` reports expired credentials."""
    session_errors = (boto.TokenRetrievalError, boto.SSOError)
    return _is_one_of(error, EXPIRED) or isinstance(error.__cause__, session_errors)


def _is_one_of(error: CloudError, codes: Collection[str]) -> bool:
    cause = error.__cause__
    return isinstance(cause, boto.ClientError) and error_code(cause) in codes
