"""``guerdon serve`` in a process of its own, ended as a user ends it; and what it refuses before it listens."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from guerdon.cli import main
from guerdon.errors import GuerdonError
from guerdon.integrations.server.listening import listening
from guerdon.rewards.rules import Length, Match
from guerdon.rewards.serialise import dumps
from guerdon.verbs import serving


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A stored reward."""
    path = tmp_path / "reward.json"
    path.write_text(dumps(Match() + 0.5 * Length("words")))
    return path


def test_it_serves_until_interrupted_and_says_what_it_did(stored: Path) -> None:
    words = ["serve", str(stored), "--port", "0", "--token-env", "MY_TOKEN", "--json", "--max-rows", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "guerdon.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MY_TOKEN": "s3cret"},
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            assert process.stdout is not None
            about = json.loads(process.stdout.readline())
            assert about["token"] and about["together"] and about["url"].startswith("http://127.0.0.1:")
            assert httpx.get(about["url"] + "/health").json()["ready"]
            body = {"prompt": "2+2", "response": "4", "label": "4"}
            assert httpx.post(about["url"] + "/get_reward", json=body).status_code == 401
            told = httpx.post(about["url"].replace("://", "://any:s3cret@") + "/get_reward", json=body)
            assert told.json() == 1.5
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            guard.cancel()
            process.kill()
    assert process.returncode == 0
    assert "Ended: 2 requests, 1 answered, 1 refused, 0 failed." in said
    assert "s3cret" not in said and "Traceback" not in said


def test_what_cannot_be_served_is_refused_in_one_sentence(stored: Path, refused, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    assert "NO_SUCH_TOKEN" in refused("serve", stored, "--token-env", "NO_SUCH_TOKEN")
    assert "'raise', 'nan' or a number" in refused("serve", stored, "--invalid", "zero")
    assert "--trust" in refused("serve", "mine:words")
    assert "port must be" in refused("serve", stored, "--port", "70000")
    with listening("127.0.0.1", 0) as taken:
        assert "another port" in refused("serve", stored, "--port", taken.getsockname()[1])


def test_a_dry_run_serves_nothing(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(stored), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert ["listens on", "127.0.0.1 port 8000"] in told["needs"] and told["writes"] == "nothing"


def test_options_reach_the_server(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def instead(app, *, host, port, started):  # type: ignore[no-untyped-def]
        service = app.state.service
        seen.update(limits=service.limits, words=service.words, batcher=service.batcher, host=host, port=port)
        started(f"http://{host}:{port}")

    monkeypatch.setattr("guerdon.integrations.server.serve", instead)
    told: list[dict[str, object]] = []
    counts = serving.serve(
        stored, started=told.append, max_rows=3, max_queued=2, max_body=0.5, query="whole", invalid="0.5",
        together=False, port=1234, label="gold",
    )  # fmt: skip
    assert counts["requests"] == 0 and told[0]["url"] == "http://127.0.0.1:1234" and told[0]["token"] is False
    assert (seen["limits"].rows, seen["limits"].queued_rows, seen["limits"].body) == (3, 3, 2**19)
    assert (seen["words"].query, seen["words"].invalid, seen["words"].label) == ("whole", 0.5, "gold")
    assert seen["batcher"].together is False
    with pytest.raises(GuerdonError, match="no option"):
        serving.serve(stored, sede=1)
