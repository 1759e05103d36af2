"""The main job from end to end on tiny random models: every verb, offline and online methods, LoRA, resume."""

import json
from pathlib import Path

import pytest
import torch

import guerdon
from guerdon.cli import main
from guerdon.training.metrics import history_of
from guerdon.verbs import alignment, reward

QUICK = (
    "--set",
    "sampling.limit=6",
    "--set",
    "batch=8",
    "--set",
    "rounds=2",
    "--set",
    "samples=2",
    "--set",
    "optim.lr=0.05",
    "--set",
    "optim.warmup=0",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Path:
    """An ensemble trained on pairs whose chosen side says yes."""
    from tests.cli.conftest import write_rows  # type: ignore[import-not-found,unused-ignore]

    folder = tmp_path_factory.mktemp("job")
    rows = [{"prompt": f"say {i}", "chosen": "yes " * (1 + i % 3), "rejected": "no " * (1 + i % 2)} for i in range(40)]
    prefs = write_rows(folder / "prefs.jsonl", rows)
    call = ["train-reward", prefs, "--model", llama, "--members", "2", "--out", folder / "reward", "--set", "epochs=3"]
    assert main([str(a) for a in call]) == 0
    return folder


def run_json(folder: Path) -> dict[str, object]:
    return json.loads((folder / "run.json").read_text())


def test_train_reward_then_evaluate(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((trained / "reward" / "evaluation.json").read_text())
    assert stored["report"]["pairs"] == 4 and len(stored["members"]) == 2
    capsys.readouterr()
    assert main(["evaluate", str(trained / "reward"), str(trained / "prefs.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"]["pairs"] == 40 and found["report"]["accuracy"]["estimate"] > 0.8
    html = (trained / "reward" / "report.html").read_text()
    assert "length alone" in html and "<svg" in html and "http" not in html.replace("http://www.w3.org", "")
    assert run_json(trained / "reward")["threads"] == 1


def test_options_from_a_file(trained: Path, llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("beta = 0.3\nbatch = 8\nrounds = 5\n[sampling]\nlimit = 4\n")
    call = ["align", trained / "prefs.jsonl", "--model", llama, "--method", "dpo", "--out", tmp_path / "o"]
    call += ["--config", file, "--set", "rounds=1", "--seed", "7", "--dtype", "bfloat16"]
    assert main([str(a) for a in call]) == 0
    config = run_json(tmp_path / "o")["config"]
    assert isinstance(config, dict)
    wanted = {"beta": 0.3, "rounds": 1, "seed": 7, "dtype": "bfloat16"}
    assert {k: config[k] for k in wanted} == wanted and config["sampling"]["limit"] == 4


def test_methods_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    assert "dpo" in {m["slug"] for m in json.loads(capsys.readouterr().out)}
    assert main(["methods", "dpo"]) == 0
    assert "Rafailov" in capsys.readouterr().out
    assert main(["reproduce", "dop"]) == 1
    assert "dpo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpo", ()),
        ("ipo", ()),
        ("remax", ()),
        ("simpo", ("--lora",)),
        ("rloo", ("--set", "shaping=par", "--set", "combine=mean_minus_std")),
        ("grpo", ("--lora-rank", "2", "--set", "combine=minimum")),
    ],
)
def test_align(trained: Path, llama: Path, tmp_path: Path, method: str, more: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    call = ["align", trained / "prefs.jsonl", "--model", llama, "--method", method, "--reward", trained / "reward"]
    assert main([str(a) for a in (*call, "--out", out, *QUICK, *more)]) == 0
    assert [m["round"] for m in history_of(out / "metrics.jsonl")] == [1, 2]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["before"]["KL to the start (nats a response)"] == pytest.approx(0.0, abs=1e-6)
    assert summary["after"]["KL to the start (nats a response)"] > 0
    assert summary["after"]["reward"] != summary["before"]["reward"]
    assert len(json.loads((out / "samples.json").read_text())) == 2
    adapted = any("lora" in a for a in more)
    assert (out / "policy" / ("adapter_config.json" if adapted else "model.safetensors")).is_file()
    record = run_json(out)
    assert record["status"] == "finished" and record["config"]["method"] == method and record["rounds"] == 2
    first = (out / "report.html").read_text()
    assert "Samples side by side" in first
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == first


def test_a_tokenizer_without_pad_and_without_template(trained: Path, gpt2: Path, tmp_path: Path) -> None:
    call = ["align", trained / "prefs.jsonl", "--model", gpt2, "--method", "rloo", "--reward", trained / "reward"]
    assert main([str(a) for a in (*call, "--out", tmp_path / "o", *QUICK)]) == 0


def test_an_interrupted_run_goes_on_to_the_same_weights(
    trained: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    call = ["align", trained / "prefs.jsonl", "--model", llama, "--method", "dpo", *QUICK, "--set", "rounds=4"]
    call += ["--set", "save_every=1", "--out"]
    assert main([str(a) for a in (*call, tmp_path / "whole")]) == 0
    real = alignment.run

    def killed(recipe, out=None, **more):  # type: ignore[no-untyped-def]
        def stop(now):  # type: ignore[no-untyped-def]
            if now.round == 2:
                raise KeyboardInterrupt

        return real(recipe, out, **{**more, "on_metrics": stop})

    monkeypatch.setattr(alignment, "run", killed)
    assert main([str(a) for a in (*call, tmp_path / "cut")]) == 130
    assert "guerdon align" in capsys.readouterr().err
    assert run_json(tmp_path / "cut")["status"] == "running"
    monkeypatch.setattr(alignment, "run", real)
    other = [str(a) for a in (*call, tmp_path / "cut")] + ["--set", "beta=0.5"]
    assert main(other) == 1
    assert "beta" in capsys.readouterr().err
    assert main([str(a) for a in (*call, tmp_path / "cut")]) == 0
    assert [m["round"] for m in history_of(tmp_path / "cut" / "metrics.jsonl")] == [1, 2, 3, 4]
    one, two = (load_file(tmp_path / name / "policy" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_an_interrupted_reward_model_goes_on_to_the_same_weights(
    trained: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    call = ["train-reward", trained / "prefs.jsonl", "--model", llama, "--set", "batch=8", "--out"]
    assert main([str(a) for a in (*call, tmp_path / "whole")]) == 0
    real = reward.fit_scalar_model

    def killed(records, model, **more):  # type: ignore[no-untyped-def]
        def stop(step, steps, told):  # type: ignore[no-untyped-def]
            if step == 6:
                raise KeyboardInterrupt

        return real(records, model, **{**more, "progress": stop})

    monkeypatch.setattr(reward, "SAVE_EVERY", 2)
    monkeypatch.setattr(reward, "fit_scalar_model", killed)
    assert main([str(a) for a in (*call, tmp_path / "cut")]) == 130
    assert sorted(p.name for p in (tmp_path / "cut" / "fitting").iterdir())[-1] == "round-00000004"
    monkeypatch.setattr(reward, "fit_scalar_model", real)
    assert main([str(a) for a in (*call, tmp_path / "cut")]) == 0
    assert not (tmp_path / "cut" / "fitting").exists()
    one, two = (
        {p.name: load_file(p) for p in (tmp_path / n / "model").rglob("*.safetensors")} for n in ("whole", "cut")
    )
    assert one and all(torch.equal(x, two[name][k]) for name, held in one.items() for k, x in held.items())


def test_the_chat_template_is_honoured(llama: Path, gpt2: Path) -> None:
    from guerdon.batch import Preference, Seed
    from guerdon.verbs.material import source_of
    from guerdon.worlds.text import load_policy

    record = [Preference.pair("hi", "yes", "no")]
    for folder, text in ((llama, "<s><user>hi<assistant>yes</s>"), (gpt2, "\n\nHuman: hi\n\nAssistant: yes</s>")):
        tokenizer = load_policy(folder)[1]
        rows = source_of("pairs", record, tokenizer, 96, 1, Seed(0)).samples.payload
        assert tokenizer.decode(rows.ids[0][rows.attention[0]]) == text
        assert tokenizer.decode(rows.ids[0][rows.response[0]]).strip() == "yes</s>"


def test_ten_lines_of_python(trained: Path, llama: Path, tmp_path: Path) -> None:
    train, held_out = guerdon.split(guerdon.read(trained / "prefs.jsonl"), held_out=0.25, seed=0)
    assert str(guerdon.audit_preferences(train)).startswith("30 comparisons on 30 prompts")
    reward = guerdon.train_reward(train, model=llama, epochs=1)
    assert str(guerdon.evaluate(reward, held_out)).startswith("10 pairs: accuracy")
    done = guerdon.align(
        train, llama, "dpo", reward=reward, out=tmp_path / "a", rounds=1, **{"sampling.limit": 4, "optim.lr": 1e-3}
    )
    assert done.summary["method"] == "dpo" and done.folder == tmp_path / "a"
    assert guerdon.build_report(tmp_path / "a").name == "report.html"
