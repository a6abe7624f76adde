"""Records the part of the Terraform AWS provider's schema that facectl's templates use.

    pip download --no-deps cdktn-provider-aws
    python tests/record_terraform_schema.py cdktn_provider_aws-*.whl

The package is generated from the provider's own schema. Only names, types and whether an attribute
is required are recorded, in `tests/functional/golden/terraform_schema.json`.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "functional" / "golden" / "terraform_schema.json"
RESOURCES = (
    "budgets_budget", "cloudwatch_dashboard", "cloudwatch_log_group", "cloudwatch_metric_alarm",
    "ecr_lifecycle_policy", "ecr_repository", "ecr_repository_policy", "iam_role",
    "iam_role_policy", "lambda_alias", "lambda_event_source_mapping", "lambda_function",
    "lambda_function_url", "lambda_permission", "lambda_provisioned_concurrency_config",
    "s3_bucket", "s3_bucket_lifecycle_configuration", "s3_bucket_policy",
    "s3_bucket_public_access_block", "s3_bucket_server_side_encryption_configuration", "sns_topic",
    "sns_topic_subscription", "sqs_queue", "sqs_queue_policy",
)  # fmt: skip
DATA_SOURCES = ("caller_identity", "partition", "region")
_NAME = re.compile(r"#(\w+) \w+#\1")


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


class Schema:
    """The types of a jsii assembly."""

    def __init__(self, types: dict[str, Any]) -> None:
        self.types = types

    def attributes(self, fqn: str, depth: int = 6) -> dict[str, Any]:
        found = {}
        for each in self.types[fqn].get("properties", ()):
            documented = _NAME.search(json.dumps(each.get("docs", {})))
            if documented is None:
                continue
            kind, block = self.kind(each["type"])
            entry: dict[str, Any] = {"type": kind, "required": not each.get("optional", False)}
            if block and depth:
                entry["block"] = self.attributes(block, depth - 1)
            found[documented.group(1)] = entry
        return found

    def kind(self, given: dict[str, Any]) -> tuple[str, str]:
        """The type as a word, and the struct of a block."""
        if "primitive" in given:
            return given["primitive"], ""
        if "fqn" in given:
            return "block", given["fqn"] if given["fqn"] in self.types else ""
        if "collection" in given:
            of = given["collection"]
            inner, block = self.kind(of["elementtype"])
            return (
                "block" if block else "map" if of["kind"] == "map" else f"list of {inner}"
            ), block
        kinds = [
            self.kind(each)
            for each in given["union"]["types"]
            if not each.get("fqn", "").endswith(".IResolvable")
        ]
        return kinds[0]


def main(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".jsii.tgz")]
        packed = archive.read(name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        jsii, script = (
            tar.extractfile(f"package/{each}") for each in (".jsii", "lib/sqs-queue/index.js")
        )
        assert jsii is not None
        assert script is not None
        assembly = json.load(jsii)
        version = re.search(r"providerVersion: '([\d.]+)'", script.read().decode())
    assert version is not None
    schema = Schema(assembly["types"])

    def of(names: tuple[str, ...], prefix: str) -> dict[str, Any]:
        found = {}
        for name in names:
            module = camel(f"{prefix}{name}")
            title = module[0].upper() + module[1:]
            if name == "s3_bucket_server_side_encryption_configuration":
                title += "A"
            fqn = f"{assembly['name']}.{module}.{title}Config"
            found[f"aws_{name}"] = schema.attributes(fqn)
        return found

    facts = {
        "source": f"{wheel.name} (MPL-2.0), generated from the schema of hashicorp/aws",
        "provider": version.group(1),
        "resources": of(RESOURCES, ""),
        "data_sources": of(DATA_SOURCES, "data_aws_"),
    }
    # One line for each resource.
    lines = [f"{json.dumps(key)}: {_lines(value)}" for key, value in sorted(facts.items())]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _lines(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    rows = [f"  {json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in sorted(value.items())]
    return "{\n" + ",\n".join(rows) + "\n}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
