"""The only module that creates boto3 clients; maps botocore errors to FacectlErrors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import boto3
from botocore import exceptions as boto
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from facectl.aws_errors import EXPIRED, MISSING, SKEWED, error_code, error_message, is_overloaded
from facectl.context import LOCAL_ACCOUNT, Deployment
from facectl.errors import CloudError, InputError, NotRunningError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

P = ParamSpec("P")
T = TypeVar("T")

ClientError = boto.ClientError
WaiterError = boto.WaiterError

# Access keys of temporary credentials begin with the second (IAM User Guide, "IAM identifiers").
_LASTING_KEY, _TEMPORARY_KEY = "AKIA", "ASIA"
_COPY_CREDENTIALS = (
    "copy the credentials again into ~/.aws/credentials, with aws_session_token "
    "(learner lab: Start Lab, AWS Details, AWS CLI)   or   aws sso login"
)
# The local cloud accepts any key; a numeric key would select another account.
_LOCAL_KEY = "test"
_CONFIG = Config(
    connect_timeout=5,
    read_timeout=65,
    retries={"mode": "standard", "max_attempts": 4},
    user_agent_extra="facectl",
)
# A stopped emulator does not return during a retry, so fail early.
_LOCAL_CONFIG = _CONFIG.merge(
    Config(connect_timeout=2, retries={"mode": "standard", "max_attempts": 2})
)


class _Once(Generic[T]):
    """A property of `Clients`, created once on first use under a lock.

    `functools.cached_property` has had no lock since Python 3.12, and a boto3 session
    must not create two clients at the same time.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, clients: None, _owner: type) -> _Once[T]: ...

    @overload
    def __get__(self, clients: Clients, _owner: type) -> T: ...

    def __get__(self, clients: Clients | None, _owner: type) -> T | _Once[T]:
        if clients is None:
            return self
        # After the first call the instance attribute hides this descriptor.
        with clients.lock:
            if self._name not in clients.__dict__:
                clients.__dict__[self._name] = self._make(clients)
            value: T = clients.__dict__[self._name]
            return value


class Clients:
    """The boto3 clients of one deployment, created on first use; thread-safe."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        # Reentrant: one property may need another (`account` needs `sts`).
        self.lock = RLock()
        local = deployment.target == "local"
        if local and deployment.endpoint_url is None:
            # Without an endpoint boto3 would call AWS.
            raise NotRunningError(
                "The endpoint of the local cloud is unknown",
                hint="facectl local up; facectl deploy",
            )
        self._config = _LOCAL_CONFIG if local else _CONFIG
        try:
            self._session = boto3.Session(
                region_name=deployment.region,
                profile_name=None if local else deployment.profile,
                aws_access_key_id=_LOCAL_KEY if local else None,
                aws_secret_access_key=_LOCAL_KEY if local else None,
            )
        except boto.ProfileNotFound as error:
            raise _no_profile(error) from error

    @_Once
    def sqs(self) -> SQSClient:
        return self._session.client("sqs", **self._options())

    @_Once
    def functions(self) -> LambdaClient:
        return self._session.client("lambda", **self._options())

    @_Once
    def ecr(self) -> ECRClient:
        return self._session.client("ecr", **self._options())

    @_Once
    def iam(self) -> IAMClient:
        return self._session.client("iam", **self._options())

    @_Once
    def s3(self) -> S3Client:
        # Path style on the local cloud: bucket.127.0.0.1 does not resolve.
        return self._session.client("s3", **self._options(s3={"addressing_style": "path"}))

    @_Once
    def logs(self) -> CloudWatchLogsClient:
        # Only AWS has the host prefix of StartLiveTail (streaming-logs...).
        return self._session.client("logs", **self._options(inject_host_prefix=False))

    @_Once
    def cloudwatch(self) -> Any:
        return self._session.client("cloudwatch", **self._options())

    @_Once
    def sns(self) -> Any:
        return self._session.client("sns", **self._options())

    @_Once
    def budgets(self) -> Any:
        return self._session.client("budgets", **self._options())

    @_Once
    def sts(self) -> STSClient:
        return self._session.client("sts", **self._options())

    @_Once
    def account(self) -> str:
        """The twelve digits of the account that the credentials belong to."""
        return self.identity.split(":")[4]

    @_Once
    def identity(self) -> str:
        """The ARN of the user, or of the session of a role, that the credentials belong to."""
        with cloud_errors("reading the identity of the credentials", self.deployment):
            return self.sts.get_caller_identity()["Arn"]

    @property
    def partition(self) -> str:
        """The AWS partition of ARNs: `aws`, `aws-cn`, `aws-us-gov`."""
        return self.identity.split(":")[1]

    def regions(self) -> list[str]:
        """The regions that have Lambda, by botocore's list for the partition."""
        return self._session.get_available_regions("lambda", partition_name=self.partition)

    def credentials(self) -> ReadOnlyCredentials | None:
        """The current credentials, to sign requests made without boto3."""
        found = self._session.get_credentials()
        return found.get_frozen_credentials() if found else None

    def credentials_expiry(self) -> datetime | None:
        """When the credentials expire, if they can't be renewed without the user; None: unknown.

        Only credentials in environment variables tell it (AWS_CREDENTIAL_EXPIRATION).
        """
        with cloud_errors("reading the credentials", self.deployment):
            found = self._session.get_credentials()
        text = os.environ.get("AWS_CREDENTIAL_EXPIRATION")
        if found is None or found.method != "env" or not text:
            return None
        try:
            expiry = datetime.fromisoformat(text)
        except ValueError:
            return None
        return expiry if expiry.tzinfo else expiry.replace(tzinfo=timezone.utc)

    def _options(self, **for_endpoint: Any) -> dict[str, Any]:
        """The arguments of a client; `for_endpoint` configures one with an endpoint of its own."""
        endpoint = self.deployment.endpoint_url
        config = self._config.merge(Config(**for_endpoint)) if endpoint else self._config
        return {"endpoint_url": endpoint, "config": config}

    def sign(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        """The headers and their SigV4 signature for a Function URL; raises CloudError."""
        with cloud_errors("signing a request", self.deployment):
            credentials = self.credentials()
            if credentials is None:
                raise boto.NoCredentialsError
            request = AWSRequest(method=method, url=url, data=body, headers=headers)
            SigV4Auth(credentials, "lambda", self.deployment.region).add_auth(request)
            return dict(request.headers.items())


def with_account(deployment: Deployment) -> Deployment:
    """The deployment with the account of its credentials.

    Raises InputError if the deployment is in another account, and CloudError.
    """
    if deployment.target == "local":
        return replace(deployment, account=LOCAL_ACCOUNT)
    account = Clients(deployment).account
    if deployment.account not in (None, account):
        other = replace(deployment, account=account)
        raise InputError(
            f"The credentials belong to account {account}, but the deployment is {deployment.key}",
            hint=f"--profile NAME, of account {deployment.account}   or, for a second deployment: "
            f"facectl deploy {other.key.flags}",
        )
    return replace(deployment, account=account)


def profile_region(profile: str | None) -> str | None:
    """The region in the AWS configuration of a profile, or of the default profile."""
    try:
        return boto3.Session(profile_name=profile).region_name
    except boto.ProfileNotFound as error:
        raise _no_profile(error) from error


def _no_profile(error: boto.ProfileNotFound) -> InputError:
    return InputError(
        f"No AWS profile is called {error.kwargs['profile']!r}", hint="aws configure list-profiles"
    )


@contextmanager
def cloud_errors(doing: str, deployment: Deployment) -> Iterator[None]:
    """Map botocore's errors to FacectlErrors whose message starts with the operation `doing`."""
    try:
        yield
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise CloudError(
            f"{doing}: no AWS credentials", hint="aws configure   or, for temporary ones: "
            f"{_COPY_CREDENTIALS}",
        ) from error  # fmt: skip
    except (boto.TokenRetrievalError, boto.SSOError) as error:
        raise CloudError(
            f"{doing}: the session has expired or was never started",
            hint=_credentials_hint(deployment),
        ) from error
    except boto.CredentialRetrievalError as error:
        raise CloudError(f"{doing}: {error}", hint=_credentials_hint(deployment)) from error
    except (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.HTTPClientError) as error:
        raise _unreachable(doing, deployment) from error
    except boto.ClientError as error:
        raise _refused(doing, error, deployment) from error
    except boto.BotoCoreError as error:
        raise CloudError(f"{doing}: {error}") from error


def unless_missing(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
    """The result of the call; None if AWS reports that the resource does not exist."""
    try:
        return call(*args, **kwargs)
    except boto.ClientError as error:
        if error_code(error) in MISSING:
            return None
        raise


def _unreachable(doing: str, deployment: Deployment) -> NotRunningError:
    if deployment.target == "local":
        return NotRunningError(
            f"{doing}: the local cloud does not answer at {deployment.endpoint_url}",
            hint="facectl local up",
        )
    return NotRunningError(
        f"{doing}: AWS does not answer in {deployment.region}", hint="--region us-east-1"
    )


def _refused(doing: str, error: boto.ClientError, deployment: Deployment) -> CloudError:
    code = error_code(error)
    text = error_message(error)
    hint = None
    if code in EXPIRED:
        hint = _credentials_hint(deployment)
    elif code in SKEWED or "Signature expired" in text or "Signature not yet current" in text:
        hint = "set this computer's clock: it is minutes away from that of AWS"
    elif code in MISSING:
        hint = "facectl deploy"
    elif is_overloaded(error):
        hint = "wait a minute, then run the command again: what is done stays done"
    return CloudError(f"{doing}: {code}: {text}", hint=hint)


def _credentials_hint(deployment: Deployment) -> str:
    """How to renew the credentials, by where botocore found them."""
    try:
        found = boto3.Session(profile_name=deployment.profile).get_credentials()
        if found is None:
            return _COPY_CREDENTIALS
        if found.method.startswith("sso"):
            return "aws sso login" + (f" --profile {deployment.profile}" * bool(deployment.profile))
        key = found.get_frozen_credentials()
    except boto.BotoCoreError:
        return _COPY_CREDENTIALS
    access_key = key.access_key or ""
    if access_key.startswith(_LASTING_KEY) and not key.token:
        return "aws configure"
    if access_key.startswith(_TEMPORARY_KEY) and not key.token:
        return f"the access key is temporary and has no session token: {_COPY_CREDENTIALS}"
    return _COPY_CREDENTIALS
