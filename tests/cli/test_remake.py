"""run.json holds the whole configuration and the command that makes the run again."""

import json
import shlex
from pathlib import Path

import pytest

from guerdon.cli import main
from guerdon.verbs import schema
from guerdon.verbs.options import AlignOptions, RewardOptions, SampleOptions

KINDS = (RewardOptions, AlignOptions, SampleOptions)


def run_json(folder: Path) -> dict[str, object]:
    return json.loads((folder / "run.json").read_text())


def elsewhere(command: str, folder: Path) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "guerdon"
    words[words.index("--out") + 1] = str(folder)
    return words[1:]


def test_the_command_makes_an_equal_run(prefs: Path, llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("beta: 0.3\noptim: {lr: 1e-2, warmup: 0}\nsampling: {limit: 4, top_p: 0.9}\nbatch: 9\n")
    call = ["align", prefs, "--model", llama, "--method", "dpo", "--config", file, "--set", "held_out=0.25"]
    assert main([*(str(a) for a in call), "--seed", "7", "--out", str(tmp_path / "a")]) == 0
    told = run_json(tmp_path / "a")
    file.unlink()  # the command stands for itself
    assert main(elsewhere(str(told["command"]), tmp_path / "b")) == 0
    again = run_json(tmp_path / "b")
    assert told["config"] == again["config"] and told["rounds"] == again["rounds"]
    for name in ("summary.json", "samples.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    weights = [(tmp_path / n / "policy" / "model.safetensors").read_bytes() for n in "ab"]
    assert weights[0] == weights[1]
    from html import unescape

    assert str(told["command"]) in unescape((tmp_path / "a" / "report.html").read_text())


def test_reward_models_and_audits_too(prefs: Path, llama: Path, tmp_path: Path) -> None:
    call = ["train-reward", prefs, "--model", llama, "--members", "2", "--no-bootstrap", "--lora", "--set", "epochs=1"]
    assert main([*(str(a) for a in call), "--out", str(tmp_path / "a")]) == 0
    told = run_json(tmp_path / "a")
    assert main(elsewhere(str(told["command"]), tmp_path / "b")) == 0
    assert told["config"] == run_json(tmp_path / "b")["config"]
    assert told["config"]["lora"]["rank"] == 8 and told["config"]["bootstrap"] is False  # type: ignore[index]
    both = [(tmp_path / n / "evaluation.json").read_bytes() for n in "ab"]
    assert both[0] == both[1]
    assert main(["audit", str(prefs), "--out", str(tmp_path / "c"), "--on-error", "skip"]) == 0
    assert main(elsewhere(str(run_json(tmp_path / "c")["command"]), tmp_path / "d")) == 0
    assert run_json(tmp_path / "c")["config"] == run_json(tmp_path / "d")["config"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_line_says_every_option(kind: type) -> None:
    """Each option changed by itself comes back from its own command line."""
    for option in schema.options_of(kind):
        if schema.is_free(option.kind):
            options = schema.build(kind, {option.name: {"beta": 0.25, "kind": "x y'z"}})
            words = shlex.split(schema.command_line("verb", ["a b"], options, "o"))
            assert parsed(kind, words[3:-2]) == options, option
            continue
        value: object = {bool: True, int: 3, float: 0.25, str: "x y'z"}[option.plain_kind]
        value = not option.default if option.plain_kind is bool else value
        try:
            options = schema.build(kind, {option.name: value})
        except schema.GuerdonError:  # one of a few choices
            options = schema.build(kind, {option.name: _choice(kind, option.name)})
        words = shlex.split(schema.command_line("verb", ["a b"], options, "o"))
        assert words[:3] == ["guerdon", "verb", "a b"] and words[-2:] == ["--out", "o"]
        assert parsed(kind, words[3:-2]) == options, option


def _choice(kind: type, name: str) -> str:
    from dataclasses import fields

    return str(next(f for f in fields(kind) if f.name == name).metadata["choices"][-1])


def parsed(kind: type, words: list[str]) -> object:
    """What the command line itself makes of these words."""
    import typer

    from guerdon.cli.command import Call, verb

    found: list[object] = []
    app = typer.Typer()

    @app.callback()
    def root() -> None:
        """More than one verb."""

    @verb(app, "x", "guerdon x", kind)
    def x(options: object, call: Call) -> None:
        """Take the options."""
        found.append(options)

    app(args=["x", *words], standalone_mode=False)
    return found[0]


def test_a_later_place_wins(prefs: Path, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text('model = "nowhere"\nmethod = "ipo"\nbatch = 3\nepochs = 2\nseed = 4\n')
    found = parsed(
        AlignOptions, ["--config", str(file), "--set", "batch=5", "--set", "seed=1", "--seed", "2", "--model", "m"]
    )
    assert isinstance(found, AlignOptions)
    assert (found.model, found.method, found.batch, found.epochs, found.seed) == ("m", "ipo", 5, 2, 2)


def test_runs_have_names(prefs: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["align", str(prefs), "--model", str(llama), "--method", "simpo", "--set", "sampling.limit=4"]
    assert main([*call, "--rounds", "1"]) == 0
    assert run_json(tmp_path / "runs" / "align-prefs-simpo")["status"] == "finished"
