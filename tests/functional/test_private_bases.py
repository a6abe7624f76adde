"""Base images of registries that ask for a password."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.stub import Stubber
from image_files import send_base
from moto import mock_aws
from registry_server import running_registry

from facectl.aws import Clients
from facectl.container_images.bases import open_base
from facectl.container_images.logins import docker_login
from facectl.container_images.registries import Registry
from facectl.context import Deployment
from facectl.deploy import logins
from facectl.errors import CloudError, InputError

PASSWORD = "open sesame"
# bcrypt of it, as `htpasswd -B` writes it.
HTPASSWD = "reader:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with a base image, for the user `reader`."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "htpasswd").write_text(HTPASSWD)
    more = f"auth: {{htpasswd: {{realm: private, path: {folder / 'htpasswd'}}}}}"
    with running_registry(folder, more) as found:
        registry = Registry(found, plain=True, login=lambda: ("reader", PASSWORD))
        send_base(registry, "team/base", "1")
        registry.close()
        yield found


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """Writes Docker's configuration: JSON data, or a text as it is."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    def write(data: Any) -> Path:
        file = tmp_path / "docker" / "config.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(data if isinstance(data, str) else json.dumps(data))
        return file

    return write


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def python_of(address: str) -> str:
    """Read the private base image, its layer included."""
    base = open_base(f"{address}/team/base:1", "amd64")
    (layer,) = base.layers
    with layer.blob.read() as pieces:
        assert len(b"".join(pieces)) == layer.blob.size
    return base.python


@pytest.mark.parametrize("key", ["{}", "http://{}", "https://{}/v1/", "https://{}/v2/"])
def test_a_private_base_image_is_read_with_dockers_login(
    address: str, configured: Callable[[Any], Path], key: str
) -> None:
    configured({"auths": {key.format(address): {"auth": encoded("reader", PASSWORD)}}})
    assert python_of(address) == "3.12"


def test_an_entry_may_have_user_and_password(
    address: str, configured: Callable[[Any], Path]
) -> None:
    configured({"auths": {address: {"username": "reader", "password": PASSWORD}}})
    assert python_of(address) == "3.12"


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"auths": {}},
        {"auths": {"other.example": {"auth": encoded("reader", PASSWORD)}}},
        {"auths": []},
    ],
)
def test_without_a_login_the_next_command_is_docker_login(
    address: str, configured: Callable[[Any], Path], data: Any
) -> None:
    if data is not None:
        configured(data)
    with pytest.raises(CloudError, match=f"{address} asks for a password for team/base") as caught:
        python_of(address)
    assert str(caught.value.hint).startswith(f"docker login {address}")


def test_a_wrong_password_is_told(address: str, configured: Callable[[Any], Path]) -> None:
    configured({"auths": {address: {"auth": encoded("reader", "wrong")}}})
    with pytest.raises(CloudError, match="answers 401, UNAUTHORIZED") as caught:
        python_of(address)
    assert str(caught.value.hint).startswith(f"docker login {address}")
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a configuration of Docker"),
        ({"auths": {"HOST": {"auth": "%%%"}}}, "is damaged"),
        ({"auths": {"HOST": {"auth": base64.b64encode(b"nobody").decode()}}}, "is damaged"),
        ({"auths": {"HOST": {"identitytoken": "x"}}}, "recorded a token"),
        ({"credsStore": "../evil"}, "has no valid name"),
        ({"credsStore": "missing"}, "docker-credential-missing can't be run"),
    ],
)
def test_what_is_wrong_with_the_login_is_told(
    address: str, configured: Callable[[Any], Path], data: Any, told: str
) -> None:
    text = data if isinstance(data, str) else json.dumps(data).replace("HOST", address)
    configured(text)
    with pytest.raises(CloudError, match="asks for a password") as caught:
        python_of(address)
    assert told in str(caught.value)


def test_what_is_wrong_with_the_login_is_no_matter_for_a_public_image(
    tmp_path: Path, configured: Callable[[Any], Path]
) -> None:
    configured("{")
    with running_registry(tmp_path) as public:
        send_base(Registry(public, plain=True), "base", "1")
        assert open_base(f"{public}/base:1", "amd64").python == "3.12"


HELPER = """\
#!{python}
import json, pathlib, sys
host = sys.stdin.read()
pathlib.Path({seen!r}).open("a").write(sys.argv[1] + " " + host + chr(10))
{then}
"""
ANSWER = 'print(json.dumps({{"ServerURL": host, "Username": {user!r}, "Secret": {password!r}}}))'


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes `docker-credential-test`; the file that is returned names how it was called."""
    folder, seen = tmp_path / "bin", tmp_path / "seen"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(then: str) -> Path:
        command = folder / "docker-credential-test"
        command.write_text(HELPER.format(python=sys.executable, seen=str(seen), then=then))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        return seen

    return write


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_credential_helper_is_asked_if_it_is_configured(
    address: str,
    configured: Callable[[Any], Path],
    helper: Callable[[str], Path],
    *,
    everywhere: bool,
) -> None:
    seen = helper(ANSWER.format(user="reader", password=PASSWORD))
    named = {"credsStore": "test"} if everywhere else {"credHelpers": {address: "test"}}
    configured({"auths": {address: {}}, **named})
    assert python_of(address) == "3.12"
    assert set(seen.read_text().splitlines()) == {f"get {address}"}


def test_a_credential_helper_of_another_registry_is_not_executed(
    address: str, configured: Callable[[Any], Path], helper: Callable[[str], Path]
) -> None:
    seen = helper(ANSWER.format(user="reader", password=PASSWORD))
    configured({"credHelpers": {"other.example": "test"}})
    with pytest.raises(CloudError, match="asks for a password"):
        python_of(address)
    assert not seen.exists()


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("print('credentials not found in native keychain'); sys.exit(1)", "for team/base"),
        ("print('the keychain is locked'); sys.exit(1)", "the keychain is locked"),
        ("print('no JSON')", "answered no user and password"),
        ("print('[]')", "answered no user and password"),
        (ANSWER.format(user="<token>", password="t"), "recorded a token"),
    ],
)
def test_a_credential_helper_without_an_answer_is_told(
    address: str,
    configured: Callable[[Any], Path],
    helper: Callable[[str], Path],
    then: str,
    told: str,
) -> None:
    helper(then)
    configured({"credsStore": "test"})
    with pytest.raises(CloudError, match="asks for a password") as caught:
        python_of(address)
    assert told in str(caught.value)


def test_docker_hub_has_another_name_in_the_configuration(
    configured: Callable[[Any], Path],
) -> None:
    configured({"auths": {"https://index.docker.io/v1/": {"auth": encoded("me", "a:b")}}})
    assert docker_login("registry-1.docker.io") == ("me", "a:b")
    assert docker_login("index.example") is None


def test_a_token_is_asked_for_with_the_login() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            known = request.headers.get("authorization") == f"Basic {encoded('me', 'pw')}"
            return httpx.Response(200, json={"token": "t"}) if known else httpx.Response(401)
        if request.headers.get("authorization") == "Bearer t":
            return httpx.Response(200, content=b"{}")
        challenge = 'Bearer realm="https://auth.test/token",service="r",scope="repository:b:pull"'
        return httpx.Response(401, headers={"www-authenticate": challenge})

    def registry(login: Any) -> Registry:
        client = httpx.Client(transport=httpx.MockTransport(answer))
        return Registry("r.test", login=login, client=client)

    assert registry(lambda: ("me", "pw")).manifest("b", "1")[0] == b"{}"
    with pytest.raises(CloudError, match=r"grants no token \(401\)") as caught:
        registry(lambda: None).manifest("b", "1")
    assert str(caught.value.hint).startswith("docker login r.test")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_ecr_is_asked_with_the_deployments_credentials(
    configured: Callable[[Any], Path], region: str
) -> None:
    configured({"auths": {ECR: {"auth": encoded("docker", "x")}}})
    with mock_aws():
        clients = Clients(Deployment("42", "aws"))
        user, password = logins.logins(clients)(ECR.replace("us-east-1", region)) or ("", "")
        assert user == "AWS"
        assert password
        assert logins.logins(clients)("r.test") is None
        # The credentials of the local cloud are no account's.
        local = Clients(Deployment("42", "local", endpoint_url="http://127.0.0.1:1"))
        assert logins.logins(local)(ECR) == ("docker", "x")


def test_credentials_that_ecr_refuses_are_told() -> None:
    with mock_aws():
        clients = Clients(Deployment("42", "aws"))
        with Stubber(clients.ecr) as stub:
            stub.add_client_error(
                "get_authorization_token", "AccessDeniedException", "not authorized"
            )
            with pytest.raises(InputError, match="asking for a password for"):
                logins.logins(clients)(ECR)
