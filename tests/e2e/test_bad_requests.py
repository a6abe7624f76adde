"""Bad requests to the running functions: documented responses, and no effect on other frames."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
from conftest import Facectl
from corpus import corpus, request
from driver import eventually

pytestmark = pytest.mark.e2e


def test_bad_requests_get_documented_responses_and_do_not_affect_the_next_frame(
    deployed: Facectl, portrait: Path, tmp_path: Path
) -> None:
    url = deployed.json("context")["function_url"]
    began = time.time()
    wrong = []
    with httpx.Client(timeout=60, trust_env=False) as client:
        for bad in corpus():
            answered = client.post(url, content=bad.body)
            code = answered.json().get("error", {}).get("code")
            if (answered.status_code, code) not in bad.answers:
                wrong.append((bad.name, answered.status_code, answered.text[:200]))
        taken = client.post(url, content=request(portrait.read_bytes(), request_id="last"))
        assert taken.status_code == 200
    assert wrong == []

    def logged_since() -> str:
        since = f"{time.time() - began + 1:.0f}s"
        return deployed("logs", "--since", since, "--raw").stdout

    logged = eventually(logged_since, lambda text: '"last"' in text)
    # No worker died, no line was forged, and nothing of what was sent is in the log.
    assert "forged" not in logged
    assert "internal" not in logged
    assert "AAAAAAAA" not in logged
    assert max(map(len, logged.splitlines())) < 2000
    for line in logged.splitlines():
        if '"stage"' in line:
            assert json.loads(line[line.index("{") :])["function"].startswith("face-")
    report = {each["function"]: each for each in deployed.json("logs", "report")["functions"]}
    assert report["face-detection"]["errors"] == report["face-detection"]["timeouts"] == 0
    deployed("purge", "--yes")
