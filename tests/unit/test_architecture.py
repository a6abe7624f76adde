"""Which packages and modules may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules(folder: str) -> Iterator[tuple[Path, str]]:
    """Every (file, module) that the Python files below a folder import."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield file.relative_to(ROOT), alias.name
            elif isinstance(node, ast.ImportFrom):
                yield file.relative_to(ROOT), node.module or ""


def imports(folder: str) -> Iterator[tuple[Path, str]]:
    """Every (file, top-level package) that the Python files below a folder import."""
    for file, module in modules(folder):
        yield file, module.partition(".")[0]


def test_imports_are_found() -> None:
    assert len({file for file, _ in imports("lambda_src")}) > 5
    assert len({file for file, _ in imports("facectl")}) > 5


@pytest.mark.parametrize(
    "package", ["facectl", "torch", "torchvision", "facenet_pytorch", "boto3", "botocore"]
)
def test_the_functions_do_not_import(package: str) -> None:
    assert [str(file) for file, name in imports("lambda_src") if name == package] == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("boto3", {"facectl/aws.py"}), ("botocore", {"facectl/aws.py", "facectl/aws_errors.py"})],
)
def test_one_module_imports_boto3(package: str, allowed: set[str]) -> None:
    assert {str(file) for file, name in imports("facectl") if name == package} == allowed


def test_logs_do_not_import_streams() -> None:
    found = [str(file) for file, name in modules("facectl/logs") if "facectl.stream" in name]
    assert found == []


@pytest.mark.parametrize("package", ["rich", "typer"])
def test_only_commands_and_the_console_print(package: str) -> None:
    others = {
        str(file)
        for file, name in imports("facectl")
        if name == package and not str(file).startswith("facectl/cli/")
    }
    assert others <= {"facectl/console.py"}


def test_one_module_imports_the_inference_runtime() -> None:
    assert {str(file) for file, name in imports("lambda_src") if name == "onnxruntime"} == {
        "lambda_src/vision/sessions.py"
    }


def test_torch_is_imported_only_where_models_are_built() -> None:
    folders = {
        file.parts[1]
        for file, name in imports("facectl")
        if name in {"torch", "torchvision", "facenet_pytorch"}
    }
    assert folders <= {"models"}
