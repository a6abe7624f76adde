"""The Lambda functions, with their code, configuration and reserved concurrency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from facectl.aws import ClientError, unless_missing
from facectl.deploy.models import DesiredState, Package, Packaging
from facectl.deploy.recipe import Architecture
from facectl.deploy.resources.base import Context, Tagged, tags
from facectl.deploy.resources.queues import MAX_RECEIVES, visibility_timeout
from facectl.errors import CloudError
from facectl.naming import DEMO_TAG_KEY, DETECTION_FUNCTION, RECOGNITION_FUNCTION, TAG_KEY

# Only zips have a runtime; MiniStack runs every Python runtime with its own interpreter.
_RUNTIME = "python3.12"
# Lambda prepares an image for minutes at most.
_READY_SECONDS = 600.0
_READY_INTERVAL = 1.0
# A read may lag behind the creation for seconds.
_SEEN_SECONDS = 30.0
_MISSING = {"State": "Pending", "StateReason": "it does not exist"}


@dataclass(frozen=True, slots=True)
class Function(Tagged):
    """A Lambda function.

    `code` is the base64 sha256 of a zip, or the URI of an image. `digest`: of the image that Lambda
    took for that URI, empty if it is not known; then any is right. `memory` in
    MB, `timeout` in seconds. `reserved_concurrency` None: the account's limit.
    `archive` is the zip to upload. `demo`: another deployment may replace it. `failed`: Lambda
    could not create it, so it must be replaced; `update_failed`: its last update.
    Source: AWS Lambda Developer Guide, "Lambda function states".
    """

    kind: ClassVar[str] = "function"
    shared: ClassVar[bool] = True
    fixed: ClassVar[frozenset[str]] = frozenset({"packaging", "failed"})
    # `failed`: Lambda says so after the answer to the first call.
    set_later: ClassVar[frozenset[str]] = frozenset({"reserved_concurrency", "failed", "digest"})
    packaging: Packaging
    code: str
    handler: str
    runtime: str
    role: str
    memory: int
    timeout: int
    architecture: Architecture
    environment: Mapping[str, str]
    reserved_concurrency: int | None = None
    demo: bool = False
    failed: bool = False
    update_failed: bool = False
    digest: str = ""
    archive: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def find(cls, context: Context, name: str) -> Function | None:
        """The function of this name; None if it does not exist."""
        answer = unless_missing(context.clients.functions.get_function, FunctionName=name)
        if answer is None:
            return None
        configuration, found = answer["Configuration"], answer.get("Tags", {})
        zipped = configuration.get("PackageType", "Zip") == "Zip"
        return cls(
            name=name,
            owner=found.get(TAG_KEY),
            demo=found.get(DEMO_TAG_KEY) == "true",
            packaging="zip" if zipped else "image",
            code=configuration["CodeSha256"] if zipped else answer["Code"].get("ImageUri", ""),
            handler=configuration.get("Handler", ""),
            runtime=configuration.get("Runtime", ""),
            role=configuration["Role"],
            memory=configuration["MemorySize"],
            timeout=configuration["Timeout"],
            architecture="arm64" if "arm64" in configuration["Architectures"] else "x86_64",
            environment=configuration.get("Environment", {}).get("Variables", {}),
            reserved_concurrency=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
            failed=configuration.get("State") == "Failed",
            update_failed=configuration.get("LastUpdateStatus") == "Failed",
            digest=answer["Code"].get("ResolvedImageUri", "").partition("@")[2],
        )

    def read(self, context: Context) -> Function | None:
        found = self.find(context, self.name)
        if found is None or (self.digest and found.digest):
            return found
        return replace(found, digest=self.digest)

    def create(self, context: Context) -> None:
        with self._memory_errors():
            context.call(
                context.clients.functions.create_function,
                **self.configuration(),
                Code=self._code(),
                PackageType="Zip" if self.packaging == "zip" else "Image",
                Architectures=[self.architecture],
                Tags=self.all_tags(),
            )
        self.wait(context)
        self._reserve(context, None)

    def update(self, context: Context, actual: Function) -> None:
        functions = context.clients.functions
        again = actual.update_failed
        # A function that failed is replaced, unless this deploy has just created it.
        self.wait(context, failures=actual.failed)
        code = (self.code, self.digest, self.architecture)
        if again or code != (actual.code, actual.digest, actual.architecture):
            context.call(
                functions.update_function_code,
                FunctionName=self.name,
                Architectures=[self.architecture],
                **self._code(),
            )
            self.wait(context)
        request = self.configuration()
        if again or request != actual.configuration():
            with self._memory_errors():
                context.call(functions.update_function_configuration, **request)
            self.wait(context)
        self._reserve(context, actual.reserved_concurrency)
        arn = context.account.function_arn(self.name)
        if self.all_tags() != actual.all_tags():
            context.call(functions.tag_resource, Resource=arn, Tags=self.all_tags())
        if actual.demo and not self.demo:
            context.call(functions.untag_resource, Resource=arn, TagKeys=[DEMO_TAG_KEY])

    def delete(self, context: Context) -> None:
        functions = context.clients.functions
        # AWS deletes the URL with its function, MiniStack does not.
        for call in (functions.delete_function_url_config, functions.delete_function):
            context.call(unless_missing, call, FunctionName=self.name)

    def wait(self, context: Context, *, failures: bool = True) -> None:
        """Wait until the function is neither being created nor updated.

        Raises CloudError after ten minutes, after half a minute without the function, and with
        `failures` if either failed.
        """
        began = context.clock()
        while True:
            answer = unless_missing(context.clients.functions.get_function, FunctionName=self.name)
            found: Any = answer["Configuration"] if answer else _MISSING
            states = {found.get("State"), found.get("LastUpdateStatus")}
            if failures and "Failed" in states:
                raise self._not_ready(found)
            if not states & {"Pending", "InProgress"}:
                return
            if context.clock() > began + (_READY_SECONDS if answer else _SEEN_SECONDS):
                raise self._not_ready(found)
            context.tell(f"{self.name}: {', '.join(sorted(filter(None, states)))}")
            context.sleep(_READY_INTERVAL)

    def is_idle(self, context: Context) -> bool:
        """Whether Lambda reclaimed what it had set up for the function, after weeks without calls.

        The next invocation fails and has it set up again. Source: AWS Lambda Developer Guide,
        "Lambda function states", Inactive.
        """
        answer = unless_missing(context.clients.functions.get_function, FunctionName=self.name)
        return answer is not None and answer["Configuration"].get("State") == "Inactive"

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """Say what to do if the account's memory quota, which no call returns, is exceeded."""
        try:
            yield
        except ClientError as error:
            if "'MemorySize' value failed" not in str(error):
                raise
            most = str(error).rpartition(" ")[2].strip(".")
            raise CloudError(
                f"{self.name}: this account allows at most {most} MB per function, "
                f"not {self.memory}: new accounts have reduced quotas",
                hint=f"facectl deploy --memory {most}",
            ) from error

    def _not_ready(self, found: Any) -> CloudError:
        reason = found.get("StateReason") or found.get("LastUpdateStatusReason")
        reason = reason or f"its state is {found.get('State')}"
        return CloudError(
            f"{self.name} did not become ready: {reason}", hint="facectl deploy   creates it again"
        )

    def facts(self, context: Context) -> dict[str, Any]:
        answer = unless_missing(context.clients.functions.get_function, FunctionName=self.name)
        if answer is None:
            return {}
        configuration = answer["Configuration"]
        facts = {
            "state": configuration.get("State"),
            "state_reason": configuration.get("StateReason"),
            "last_update": configuration.get("LastUpdateStatus"),
            "update_reason": configuration.get("LastUpdateStatusReason"),
            "modified": configuration.get("LastModified"),
            "digest": answer["Code"].get("ResolvedImageUri", "").partition("@")[2],
        }
        return {name: value for name, value in facts.items() if value}

    def _code(self) -> Any:
        return {"ZipFile": self.archive} if self.packaging == "zip" else {"ImageUri": self.code}

    def configuration(self) -> dict[str, Any]:
        """The arguments of Lambda's API for everything but code, concurrency and tags."""
        zipped = self.packaging == "zip"
        return {
            "FunctionName": self.name,
            "Role": self.role,
            "MemorySize": self.memory,
            "Timeout": self.timeout,
            "Environment": {"Variables": self.environment},
            **({"Handler": self.handler, "Runtime": self.runtime} if zipped else {}),
        }

    def all_tags(self) -> dict[str, str]:
        """The owner tag, and the one of a demo."""
        return {**tags(self.owner), **({DEMO_TAG_KEY: "true"} if self.demo else {})}

    def _reserve(self, context: Context, before: int | None) -> None:
        functions, count = context.clients.functions, self.reserved_concurrency
        if count == before:
            return
        if count is None:
            context.call(functions.delete_function_concurrency, FunctionName=self.name)
            return
        try:
            context.call(
                functions.put_function_concurrency,
                FunctionName=self.name,
                ReservedConcurrentExecutions=count,
            )
        except ClientError as error:
            if "UnreservedConcurrentExecution" not in str(error):
                raise
            raise CloudError(
                f"Can't reserve a concurrency of {count} for {self.name}: "
                "the account's concurrency limit is too low",
                hint="a lower --reserved-concurrency, or a higher quota: facectl doctor",
            ) from error


def desired(state: DesiredState) -> Iterator[Function]:
    """face-detection and face-recognition."""
    names, sizing, packages = state.names, state.sizing, state.packages
    reserved = sizing.reserved_concurrency
    if reserved is None:
        reserved = state.cloud.detection_concurrency
    yield _function(state, DETECTION_FUNCTION, packages.detection, names.detection_role, reserved)
    # The trigger limits its concurrency: a reservation below that would throttle deliveries.
    yield _function(state, RECOGNITION_FUNCTION, packages.recognition, names.recognition_role, None)


def _function(
    state: DesiredState, name: str, package: Package, role: str, reserved: int | None
) -> Function:
    zipped = package.packaging == "zip"
    return Function(
        name=name,
        owner=state.names.asu_id,
        packaging=package.packaging,
        code=package.digest,
        handler=f"lambda_src.{name.removeprefix('face-')}.handler" if zipped else "",
        runtime=_RUNTIME if zipped else "",
        role=state.role_arn or state.account.role_arn(role),
        memory=state.sizing.memory,
        timeout=state.sizing.timeout,
        architecture=state.sizing.architecture,
        environment=_environment(state),
        reserved_concurrency=reserved,
        archive=package.archive,
        demo=state.demo,
        digest=package.recorded,
    )


def _environment(state: DesiredState) -> dict[str, str]:
    names, account = state.names, state.account
    threads = state.cloud.threads
    return {
        "FACECTL_REQUEST_QUEUE_URL": account.queue_url(names.request_queue),
        "FACECTL_RESPONSE_QUEUE_URL": account.queue_url(names.response_queue),
        "FACECTL_GALLERY_BUCKET": names.bucket(account.number, account.region),
        "FACECTL_MAX_RECEIVES": str(MAX_RECEIVES),
        "FACECTL_VISIBILITY_TIMEOUT": str(visibility_timeout(state)),
        **({} if threads is None else {"FACECTL_THREADS": str(threads)}),
        **state.environment,
    }


def at(function: str, qualifier: str) -> Any:
    """The arguments of Lambda's API for a function, or for its alias `qualifier`."""
    return {"FunctionName": function, **({"Qualifier": qualifier} if qualifier else {})}


def qualified(function: str, qualifier: str) -> str:
    """The function's name with its qualifier, as in Lambda's API and ARNs."""
    return f"{function}:{qualifier}" if qualifier else function


def qualifier_in(function_arn: str) -> str:
    """The qualifier in a function's ARN; empty without one."""
    return function_arn.partition(":function:")[2].partition(":")[2]
