"""`.ci/install.py`: uv with pip's configuration, and pip where uv can't be had or fails."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LISTED = """\
:env:.default-timeout='180'
:env:.index-url='https://me:secret@mirror.example/simple'
global.cert='/etc/ca.pem'
global.constraint='/etc/constraints.txt'
global.extra-index-url='file:///a/simple https://b.example/simple'
global.find-links='/wheels'
global.index-url='https://other.example/simple'
install.find-links='/more /wheels'
"""


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


install = loaded()


def test_uv_installs_as_pip_is_configured() -> None:
    assert install.uv_environment(install.pip_settings(LISTED)) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://me:secret@mirror.example/simple",
        "UV_INDEX": "file:///a/simple https://b.example/simple",
        "UV_FIND_LINKS": "/more,/wheels",
        "UV_CONSTRAINT": "/etc/constraints.txt",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_without_configuration_only_the_order_of_indexes_is_set() -> None:
    environment = install.uv_environment(install.pip_settings(""))
    assert environment == {"UV_INDEX_STRATEGY": "unsafe-best-match"}


class Machine:
    """Runs nothing; what `uv pip install` and `pip install` would do is scripted."""

    def __init__(
        self,
        folder: Path,
        *,
        uv: str,
        pip: int = 0,
        listed: str = "global.index-url='https://mirror.example/simple'\n",
    ) -> None:
        self.folder, self.uv, self.pip, self.listed = folder, uv, pip, listed
        self.commands: list[str] = []
        self.environments: list[Mapping[str, str]] = []
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()

    def __call__(
        self, command: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = " ".join(Path(word).name if "/" in word else word for word in command)
        self.commands.append(words)
        self.environments.append(environment or {})
        code, out = 0, ""
        if words.endswith("--only-binary uv uv"):
            if self.uv == "missing":
                code = 1
            else:
                (self.folder / "bin" / "uv").touch()
        elif words.endswith("config list"):
            out = self.listed
        elif words.startswith("uv pip install"):
            code = 1 if self.uv == "fails" else 0
        else:
            code = self.pip
        return subprocess.CompletedProcess(command, code, out, "no such package")


@pytest.fixture(autouse=True)
def no_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.shutil, "which", lambda _: None)


def test_uv_is_installed_into_the_environment_and_used(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "venv", uv="works")
    assert install.install(machine.folder, "local", machine)
    assert [words.split(" --")[0] for words in machine.commands] == [
        "python -m pip install",
        "python -m pip config list",
        "uv pip install",
    ]
    assert machine.commands[-1].endswith("--editable .[local]")
    assert machine.environments[-1]["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    # The next time it is there.
    machine.commands.clear()
    assert install.install(machine.folder, "local", machine)
    assert [words.split(" --")[0] for words in machine.commands] == [
        "python -m pip config list",
        "uv pip install",
    ]


def test_the_uv_of_this_computer_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.shutil, "which", lambda _: "/usr/bin/uv")
    machine = Machine(tmp_path / "venv", uv="works")
    assert install.install(machine.folder, "local", machine)
    assert not any(words.startswith("python -m pip install") for words in machine.commands)
    assert machine.commands[-1].startswith("uv pip install")


@pytest.mark.parametrize(("value", "told"), [("true", True), ("1", True), ("false", False)])
def test_a_computer_without_an_index(tmp_path: Path, value: str, told: bool) -> None:
    machine = Machine(tmp_path / "venv", uv="works", listed=f"global.no-index='{value}'\n")
    assert install.install(machine.folder, "local", machine)
    assert ("--no-index" in machine.commands[-1]) == told


def test_the_arguments_have_no_password(tmp_path: Path) -> None:
    # Other users see the arguments of a process.
    machine = Machine(tmp_path / "venv", uv="works", listed=LISTED)
    assert install.install(machine.folder, "local", machine)
    assert "secret" in machine.environments[-1]["UV_DEFAULT_INDEX"]
    assert not any("secret" in words for words in machine.commands)


@pytest.mark.parametrize("uv", ["missing", "fails"])
def test_pip_installs_where_uv_does_not(
    tmp_path: Path, uv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path / "venv", uv=uv)
    assert install.install(machine.folder, "local,dev", machine)
    last = machine.commands[-1]
    assert last.startswith("python -m pip install")
    assert last.endswith("--no-compile --editable .[local,dev]")
    assert ("installing with pip" in capsys.readouterr().out) == (uv == "fails")


def test_a_failure_of_both_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path / "venv", uv="fails", pip=1)
    assert not install.install(machine.folder, "local", machine)
    assert "no such package" in capsys.readouterr().err


def test_the_demo_does_not_install_torch() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "\ndemo: $(LOCAL)\n" in makefile
    rule = makefile.partition("\n$(LOCAL): ")[2].partition("\n\n")[0]
    assert ".ci/install.py $(VENV) local,web\n" in rule
    assert "torch" not in rule.lower()
