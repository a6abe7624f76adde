"""A client of the registry API (OCI Distribution Specification 1.1), for reading and sending.

`python-dxf` sends a blob in one request, which starts again when it is cut off; `aioregistry`
and `oras` do so too, or are made for other artifacts; so this is our own client.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from facectl.container_images.blobs import Pieces, sha256
from facectl.container_images.logins import Logins
from facectl.container_images.media import MANIFESTS
from facectl.container_images.references import Reference
from facectl.errors import CloudError, InputError
from facectl.retry import Backoff, exponential, jittered

# User and password; called again when the registry no longer accepts them. None, and InputError
# with the reason, if there are none: then the registry is asked as anybody.
Login = Callable[[], "tuple[str, str] | None"]
_TIMEOUT = httpx.Timeout(60, connect=10)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_LARGEST_DOCUMENT = 4 << 20
_FORBIDDEN = (401, 403)
_HINT = "check the name, look for a newer version with --rebuild, or pass --base-image"


class UnavailableError(CloudError):
    """A registry did not answer, or answered that it may later: the request can be repeated."""


def backoff() -> Backoff:
    """Retries for about two minutes while a registry is unavailable."""
    return Backoff(
        delay=jittered(exponential(0.5, 15.0)),
        limit=120.0,
        attempts=12,
        is_transient=lambda error: isinstance(error, UnavailableError),
    )


def short_backoff() -> Backoff:
    """Retries for some seconds, for what a user waits for."""
    return Backoff(
        delay=exponential(0.5, 2.0),
        limit=10.0,
        attempts=4,
        is_transient=lambda error: isinstance(error, UnavailableError),
    )


@dataclass(frozen=True, slots=True)
class RegistryBlob:
    """A blob of a repository. `backoff`: the retries while no byte arrives."""

    registry: Registry
    repository: str
    digest: str
    size: int
    backoff: Callable[[], Backoff] = field(default=backoff, repr=False, compare=False)

    @contextmanager
    def read(self, offset: int = 0) -> Iterator[Pieces]:
        """The bytes from an offset on; a connection that breaks is continued at the next byte.

        Raises CloudError.
        """
        pieces = self._pieces(offset)
        try:
            yield pieces
        finally:
            pieces.close()

    def _pieces(self, offset: int) -> Generator[bytes]:
        backoff, began = self.backoff(), offset
        try:
            # No range begins at the end: a connection may break after the last byte.
            while offset == began or offset < self.size:
                with (
                    backoff.attempt(),
                    self.registry.blob(self.repository, self.digest, offset) as pieces,
                ):
                    for piece in pieces:
                        offset += len(piece)
                        backoff.reset()
                        yield piece
                    return
        except UnavailableError as error:
            raise CloudError(
                f"Reading a layer of {self.registry.host}/{self.repository} broke off after "
                f"{megabytes(offset)} of {megabytes(self.size)}, repeatedly: {error}",
                hint="check the network, then facectl deploy   or --base-image FILE of "
                "`docker save`",
            ) from error


class Registry:
    """One registry; thread-safe. `plain`: HTTP instead of HTTPS.

    Without `login` it asks for anonymous tokens, as for pulling public images.
    """

    def __init__(
        self,
        host: str,
        *,
        login: Login | None = None,
        plain: bool = False,
        backoff: Callable[[], Backoff] = backoff,
        client: httpx.Client | None = None,
    ) -> None:
        self.host = host
        self.backoff = backoff
        self._login = login
        self._base = f"{'http' if plain else 'https'}://{host}"
        self._client = client or httpx.Client(
            timeout=_TIMEOUT,
            follow_redirects=True,
            # A proxy of the environment is not for a registry on this computer.
            trust_env=not plain,
        )
        # The Authorization header by repository: a token is valid for one.
        self._granted: dict[str, str] = {}
        # Why there is no user and password, if something is wrong with them.
        self._problem = ""
        self._lock = threading.Lock()

    @classmethod
    def of(cls, reference: Reference, logins: Logins) -> Registry:
        """The registry of an image; HTTP only on this computer."""
        host = reference.registry.rpartition(":")[0] or reference.registry
        return cls(
            reference.registry,
            login=lambda: logins(reference.registry),
            plain=host in _LOOPBACK,
            backoff=short_backoff,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def manifest(self, repository: str, version: str) -> tuple[bytes, str]:
        """A manifest or an index and its media type, by tag or digest.

        Raises InputError if there is none, CloudError.
        """
        return self.backoff().call(lambda: self._manifest(repository, version))

    def document(self, repository: str, digest: str) -> bytes:
        """A small blob, such as the configuration of an image; raises CloudError."""

        def read() -> bytes:
            with self.blob(repository, digest) as pieces:
                return b"".join(pieces)

        return _verified(self.backoff().call(read), digest, repository)

    @contextmanager
    def blob(self, repository: str, digest: str, offset: int = 0) -> Iterator[Pieces]:
        """The bytes of a blob from an offset on; raises CloudError."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        path = f"/v2/{repository}/blobs/{digest}"
        response = self.send("GET", path, repository, headers=headers, stream=True)
        try:
            if response.status_code not in (200, 206):
                raise self.refused(response, f"reading {digest[:19]} of {repository}")
            # A registry may ignore the range.
            skip = offset if response.status_code == 200 else 0
            yield _after(skip, _received(response))
        finally:
            response.close()

    def _manifest(self, repository: str, version: str) -> tuple[bytes, str]:
        path = f"/v2/{repository}/manifests/{version}"
        response = self.send("GET", path, repository, headers={"Accept": ", ".join(MANIFESTS)})
        name = f"{self.host}/{repository}"
        if response.status_code == 404:
            raise InputError(f"{name} has no image {version}", hint=_HINT)
        if response.status_code != 200 or len(response.content) > _LARGEST_DOCUMENT:
            raise self.refused(response, f"reading {version} of {name}")
        media_type = response.headers.get("content-type", "").partition(";")[0]
        return _verified(response.content, version, repository), media_type

    def send(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        stream: bool = False,
    ) -> httpx.Response:
        """The response to a request; after a 401 it is sent again with a new token.

        `content`: what can be iterated over again needs a Content-Length.

        Raises UnavailableError if the registry does not answer, or with 429 or 5xx.
        """
        used = self._granted.get(repository)
        response = self._once(method, url, repository, headers, content, stream)
        if response.status_code == 401:
            response.close()
            self._authorize(repository, response.headers.get("www-authenticate", ""), used)
            response = self._once(method, url, repository, headers, content, stream)
        if _is_busy(response):
            response.close()
            raise UnavailableError(
                f"{self.host} answers {response.status_code} to {method} {repository}"
            )
        return response

    def _once(
        self,
        method: str,
        url: str,
        repository: str,
        headers: Mapping[str, str] | None,
        content: bytes | Iterable[bytes] | None,
        stream: bool,
    ) -> httpx.Response:
        target = url if "://" in url else f"{self._base}{url}"
        sent = dict(headers or {})
        granted = self._granted.get(repository)
        # The password of this registry is not for the host that it redirects to.
        if granted is not None and urlsplit(target).netloc.removesuffix(":443") == self.host:
            sent["Authorization"] = granted
        try:
            request = self._client.build_request(method, target, headers=sent, content=content)
            return self._client.send(request, stream=stream)
        except httpx.RequestError as error:
            raise UnavailableError(
                f"The registry {self.host} does not answer: {error or type(error).__name__}",
                hint="check the network, or pass --base-image FILE of `docker save`",
            ) from error

    def _authorize(self, repository: str, challenge: str, used: str | None) -> None:
        """Get the Authorization header for a repository, unless another thread has done so."""
        with self._lock:
            if self._granted.get(repository) != used:
                return
            kind, _, rest = challenge.partition(" ")
            user = self._user()
            if kind.lower() == "bearer":
                self._granted[repository] = self._bearer(dict(_PARAMETER.findall(rest)), user)
            elif user is not None:
                self._granted[repository] = _basic(user)
            else:
                raise CloudError(
                    f"{self.host} asks for a password for {repository}{self._problem}",
                    hint=self._login_hint,
                )

    def _user(self) -> tuple[str, str] | None:
        if self._login is None:
            return None
        try:
            return self._login()
        except InputError as error:
            # A public image needs none.
            self._problem = f". {error}"
            return None

    @property
    def _login_hint(self) -> str:
        return f"docker login {self.host}   or   --base-image FILE of `docker save`"

    def _bearer(self, parameters: dict[str, str], user: tuple[str, str] | None) -> str:
        realm = parameters.pop("realm", "")
        known = httpx.QueryParams(
            {name: parameters[name] for name in ("service", "scope") if name in parameters}
        )
        headers = {"Authorization": _basic(user)} if user else {}
        try:
            response = self._client.get(realm, params=known, headers=headers)
            if _is_busy(response):
                # public.ecr.aws limits the anonymous tokens of a second.
                raise UnavailableError(
                    f"{self.host} answers {response.status_code} to a request for a token"
                )
            answer = response.json()
            token = answer.get("token") or answer["access_token"]
        except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
            raise UnavailableError(f"{self.host} grants no token: {error}") from error
        except (ValueError, KeyError, AttributeError) as error:
            code = response.status_code
            raise CloudError(
                f"{self.host} grants no token ({code}){self._problem}",
                hint=self._login_hint if code in _FORBIDDEN else _HINT,
            ) from error
        return f"Bearer {token}"

    def refused(self, response: httpx.Response, doing: str) -> CloudError:
        """The error of a response, with the registry's own words."""
        try:
            response.read()
        except httpx.RequestError as error:
            raise UnavailableError(f"{doing}: the connection to {self.host} broke") from error
        try:
            said = "; ".join(
                f"{each.get('code', '')}: {each.get('message', '')}"
                for each in json.loads(response.content)["errors"]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            said = response.reason_phrase
        code = response.status_code
        refused = code in _FORBIDDEN
        return CloudError(
            f"{doing}: {self.host} answers {code}, {said}{self._problem if refused else ''}",
            hint=self._login_hint if refused else None,
        )


def megabytes(count: int) -> str:
    """A number of bytes as text, in MB."""
    return f"{count / 1e6:.1f} MB"


def _is_busy(response: httpx.Response) -> bool:
    """Whether a registry may answer the same request later."""
    return response.status_code == 429 or response.status_code >= 500


def _basic(user: tuple[str, str]) -> str:
    return f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"


def _received(response: httpx.Response) -> Pieces:
    try:
        # In pieces as they arrive: what arrived before a cut is not read again.
        yield from response.iter_raw()
    except httpx.TransportError as error:
        raise UnavailableError(f"The connection to {response.url.host} broke: {error}") from error


def _after(skip: int, pieces: Pieces) -> Pieces:
    for piece in pieces:
        if skip < len(piece):
            yield piece[skip:]
        skip = max(0, skip - len(piece))


def _verified(data: bytes, version: str, repository: str) -> bytes:
    if version.startswith("sha256:") and sha256(data) != version:
        raise CloudError(f"{repository} answers other bytes than {version}: digests differ")
    return data


def parsed(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object of an image; raises InputError."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise InputError(f"{name} is not JSON: the image is damaged") from error
    if not isinstance(found, dict):
        raise InputError(f"{name} is not a JSON object: the image is damaged")
    return found
