"""Any sequence of deploy, destroy and use changes only the named deployments.

The cloud is a set of deployments; the code of this computer is real: naming,
resolving, recording, migrating and forgetting deployments and their options.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typer.testing import CliRunner

from facectl import aws, records
from facectl.cli.app import app
from facectl.context import LOCAL_ACCOUNT, Deployment, Key, Overrides, resolve
from facectl.deploy import options
from facectl.deploy.options import Options
from facectl.errors import InputError

IDS = ("alice", "bob")
REGIONS = ("eu-west-1", "us-east-1")
ACCOUNTS = ("111111111111", "222222222222")

asu_ids = st.sampled_from(IDS)
targets = st.sampled_from(("aws", "local"))
regions = st.sampled_from(REGIONS)
accounts = st.sampled_from(ACCOUNTS)
said = st.fixed_dictionaries(
    {},
    optional={
        "asu_id": asu_ids,
        "target": targets,
        "region": regions,
        "account": st.sampled_from((*ACCOUNTS, LOCAL_ACCOUNT)),
    },
)
memories = st.none() | st.integers(512, 10240)


class Contexts(RuleBasedStateMachine):
    """`known` is what should be remembered, by place; `current` which of it is current.

    A record of an earlier version has no account until it is deployed again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.home = Path(tempfile.mkdtemp())
        self.patch.setenv("FACECTL_HOME", str(self.home))
        for name in ("AWS_REGION", "FACECTL_ACCOUNT"):
            self.patch.delenv(name, raising=False)
        self.patch.setenv("AWS_DEFAULT_REGION", REGIONS[0])
        self.known: dict[Key, tuple[Deployment, Options]] = {}
        self.current: Key | None = None

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.home)

    @initialize(data=st.data())
    def an_earlier_version_left_files(self, data: st.DataObject) -> None:
        """One file per ASU ID, as version 0.1.0 wrote them."""
        folder = self.home / "state" / "deployments"
        for asu_id in data.draw(st.lists(asu_ids, unique=True)):
            deployment = Deployment(
                asu_id,
                data.draw(targets),
                data.draw(regions),
                profile=data.draw(st.none() | asu_ids),
            )
            memory = data.draw(memories)
            folder.mkdir(parents=True, exist_ok=True)
            fields = ("asu_id", "target", "region", "profile", "endpoint_url", "function_url",
                      "space", "synthetic", "auth")  # fmt: skip
            facts = {name: getattr(deployment, name) for name in fields}
            (folder / f"{asu_id}.json").write_text(json.dumps(facts, indent=2))
            chosen = {} if memory is None else {"memory": memory}
            text = json.dumps({"target": deployment.target, "options": chosen}, indent=2)
            (folder / f"{asu_id}.options.json").write_text(text)
            (folder / "current").write_text(asu_id)
            account = LOCAL_ACCOUNT if deployment.target == "local" else None
            self._remember(replace(deployment, account=account), Options(memory=memory))

    def _remember(self, deployment: Deployment, chosen: Options) -> None:
        self.known.pop(replace(deployment.key, account=None), None)
        self.known[deployment.key] = (deployment, chosen)
        self.current = deployment.key

    def _meant(self, words: dict[str, Any], *, new: bool) -> Key | None:
        """The deployment that the rules of `facectl context` choose; None if that is an error."""
        if words.get("target") == "local" and words.get("account") in ACCOUNTS:
            return None
        if "asu_id" not in words:
            if self.current is None:
                return None
            if self._agrees(words, self.current):
                return self.current
            words = {**words, "asu_id": self.current.asu_id}
            named = False
        else:
            named = True
        of_id = [key for key in self.known if key.asu_id == words["asu_id"]]
        meant = [key for key in of_id if self._agrees(words, key)]
        if meant:
            return meant[0] if len(meant) == 1 else None
        there = [key for key in of_id if words.get("target", key.target) == key.target]
        whole = named and "target" in words and "region" in words
        if there and not (new and whole):
            return None
        target = words.get("target", "aws")
        account = LOCAL_ACCOUNT if target == "local" else words.get("account")
        return Key(words["asu_id"], target, words.get("region", REGIONS[0]), account)

    @staticmethod
    def _agrees(words: dict[str, Any], key: Key) -> bool:
        return all(
            getattr(key, name) == value or (name == "account" and key.account is None)
            for name, value in words.items()
        )

    def _resolved(self, words: dict[str, Any], *, new: bool) -> Deployment | None:
        expected = self._meant(words, new=new)
        if expected is None:
            with pytest.raises(InputError) as refused:
                resolve(Overrides(**words), new=new)
            assert refused.value.hint
            return None
        found = resolve(Overrides(**words), new=new)
        assert replace(found.key, account=None) == replace(expected, account=None)
        if expected in self.known:
            before = self.known[expected][0]
            assert replace(found, account=None) == replace(before, account=None)
        return found

    def _credentials(self, deployment: Deployment, account: str) -> Deployment | None:
        """The deployment as the command gets it; None if the credentials are of another account."""
        self.patch.setattr(aws.Clients, "account", account, raising=False)
        plain = replace(deployment, profile=None)
        try:
            found = aws.with_account(plain)
        except InputError:
            assert deployment.target == "aws"
            assert deployment.account not in (None, account)
            return None
        assert found.key.account == (LOCAL_ACCOUNT if found.target == "local" else account)
        return replace(found, profile=deployment.profile)

    @rule(words=said, account=accounts, memory=memories)
    def deploy(self, words: dict[str, Any], account: str, memory: int | None) -> None:
        found = self._resolved(words, new=True)
        deployment = found and self._credentials(found, account)
        if deployment is None:
            return
        earlier = self._options(deployment.key)
        assert options.recall(deployment) == earlier
        chosen = Options(memory=memory).over(earlier)
        options.remember(deployment, chosen)
        # As `deployer.finish` does.
        deployment = replace(deployment, function_url=f"https://{deployment.key.place}")
        records.remember(deployment)
        self._remember(deployment, chosen)

    def _options(self, key: Key) -> Options:
        for each in (key, replace(key, account=None)):
            if each in self.known:
                return self.known[each][1]
        return Options()

    @rule(words=said, account=accounts)
    def destroy(self, words: dict[str, Any], account: str) -> None:
        found = self._resolved(words, new=True)
        deployment = found and self._credentials(found, account)
        if deployment is None:
            return
        records.forget(deployment.key)
        for gone in (deployment.key, replace(deployment.key, account=None)):
            self.known.pop(gone, None)
            if self.current == gone:
                self.current = None

    @rule(words=said)
    def use(self, words: dict[str, Any]) -> None:
        expected = self._meant(words, new=False)
        flags = [text for name, value in words.items() for text in (f"--{name}", value)]
        flags = [text.replace("asu_id", "asu-id") for text in flags]
        done = CliRunner().invoke(app, ["context", "use", *flags])
        if expected in self.known:
            assert done.exit_code == 0, done.output
            self.current = expected
        else:
            assert isinstance(done.exception, InputError)

    @rule(words=said)
    def read(self, words: dict[str, Any]) -> None:
        self._resolved(words, new=False)

    @rule()
    @precondition(lambda self: self.known)
    def read_without_a_word(self) -> None:
        self._resolved({}, new=False)

    @invariant()
    def everything_else_is_as_it_was(self) -> None:
        assert sorted(map(str, records.known())) == sorted(map(str, self.known))
        assert records.current() == self.current
        for key, (deployment, chosen) in self.known.items():
            assert records.read(key) == deployment
            assert options.recall(deployment) == chosen


TestContexts = Contexts.TestCase
TestContexts.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
