"""Everything wrong a user can give: one sentence that names it, exit code 1, earlier results as they were."""

import json
from pathlib import Path

import pytest
from torch import Tensor

from guerdon.batch import Preference, Samples
from guerdon.cli import main
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards import reward
from guerdon.rewards.running import Runner
from guerdon.verbs import align, evaluate

PAIR = {"prompt": "p", "chosen": "good", "rejected": "bad"}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A finished run that must not change."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"verb": "align", "status": "finished", "config": {}}))
    (folder / "precious.bin").write_bytes(b"weights")
    return folder


def test_missing_file(refused, tmp_path: Path) -> None:
    assert str(tmp_path / "no.jsonl") in refused("audit", tmp_path / "no.jsonl")


def test_empty_file(refused, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("")
    assert "empty" in refused("audit", tmp_path / "e.jsonl")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('{"prompt": "p", "chosen": ', ("x.jsonl:2", "JSON")),
        (json.dumps({"prompt": "p", "chosen": "a"}), ("x.jsonl:2", "'rejected'", "missing")),
        (json.dumps({**PAIR, "rejected": "good"}), ("x.jsonl:2", "same")),
        (json.dumps({**PAIR, "chosen": "  "}), ("x.jsonl:2", "'chosen'", "empty")),
        (json.dumps({**PAIR, "chosen": 3}), ("x.jsonl:2", "'chosen'", "string")),
    ],
    ids=["broken json", "missing field", "chosen is rejected", "empty response", "wrong type"],
)
def test_bad_records_name_file_line_and_field(
    refused, tmp_path: Path, earlier: Path, line: str, parts: tuple[str, ...]
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(PAIR) + "\n" + line + "\n")
    before = tree(earlier)
    said = refused("train-reward", file, "--out", earlier, "--overwrite")
    assert all(part in said for part in parts), said
    assert tree(earlier) == before


def test_a_bad_record_may_be_skipped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(PAIR) + "\nnot json\n")
    assert main(["audit", str(file), "--on-error", "skip", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["records"] == 1


def test_a_path_that_is_no_model(refused, tmp_path: Path, prefs: Path) -> None:
    (tmp_path / "folder").mkdir()
    for verb in (("align", "--method", "dpo"), ("train-reward",)):
        name, *rest = verb
        said = refused(name, prefs, *rest, "--model", tmp_path / "folder", "--out", tmp_path / "out")
        assert "config.json" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_reward_model(refused, tmp_path: Path, prefs: Path, llama: Path) -> None:
    assert "reward_model.json" in refused("evaluate", llama, prefs)
    said = refused(
        "align", prefs, "--model", llama, "--method", "rloo", "--reward", tmp_path / "no", "--out", tmp_path / "o"
    )
    assert "does not exist" in said


def test_online_methods_ask_for_a_reward(refused, tmp_path: Path, prefs: Path, llama: Path) -> None:
    assert "--reward" in refused("align", prefs, "--model", llama, "--method", "grpo", "--out", tmp_path / "o")


def test_an_unknown_method_or_device_or_dtype(refused, tmp_path: Path, prefs: Path, llama: Path) -> None:
    common = ("align", prefs, "--model", llama, "--out", tmp_path / "o")
    assert "did you mean rloo" in refused(*common, "--method", "rlooo")
    assert "no hyperparameter 'gama'; it has beta, margin" in refused(
        *common, "--method", "simpo", "--set", "hyper.gama=1"
    )
    assert "beta of dpo must be a float" in refused(*common, "--method", "dpo", "--set", "hyper.beta=high")
    assert "abacus" in refused(*common, "--method", "dpo", "--device", "abacus")
    assert "int3" in refused(*common, "--method", "dpo", "--dtype", "int3")


def test_a_response_longer_than_the_context_names_its_record(refused, tmp_path: Path, llama: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps(PAIR) + "\n" + json.dumps({**PAIR, "chosen": "x" * 200}) + "\n")
    for verb in (("align", "--method", "dpo", "--set", "sampling.limit=8"), ("train-reward",)):
        name, *rest = verb
        said = refused(name, file, *rest, "--model", llama, "--out", tmp_path / "o")
        assert "long.jsonl:2" in said and "96" in said, said
        call = (name, file, *rest, "--model", llama, "--out", tmp_path / name, "--on-error", "skip")
        assert main([str(a) for a in call]) == 0


def test_a_sampling_limit_beyond_the_context(refused, tmp_path: Path, prefs: Path, llama: Path) -> None:
    common = ("align", prefs, "--model", llama, "--method", "dpo", "--out", tmp_path / "o")
    assert "sampling.limit" in refused(*common, "--set", "sampling.limit=96")


def test_a_finished_run_is_never_replaced_unasked(refused, earlier: Path, prefs: Path, llama: Path) -> None:
    before = tree(earlier)
    said = refused("align", prefs, "--model", llama, "--method", "dpo", "--out", earlier)
    assert "--overwrite" in said
    assert tree(earlier) == before


def test_a_folder_of_other_things_is_never_touched(refused, tmp_path: Path, prefs: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert "another folder" in refused("audit", prefs, "--out", tmp_path / "mine", "--overwrite")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


def test_report_on_nothing(refused, tmp_path: Path) -> None:
    assert "nothing to report" in refused("report", tmp_path)


class Scorer:
    """A reward model that gives what it is told."""

    members = 1

    def __init__(self, value: float) -> None:
        self.value = value

    def score_texts(self, prompts: object, responses: list[str]) -> Tensor:
        import torch

        return torch.full((len(responses), 1), self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite(value: float, tmp_path: Path, llama: Path) -> None:
    records = [Preference.pair(f"p{i}", "a", "b") for i in range(4)]
    with pytest.raises(GuerdonError, match="finite"):
        evaluate(Scorer(value), records)
    with pytest.raises(RewardError, match="finite"):
        align(records, llama, "rloo", reward=Scorer(value), **{"sampling.limit": 4})


def test_a_reward_that_raises_or_hangs(tmp_path: Path, llama: Path) -> None:
    import time

    records = [Preference.pair(f"p{i}", "a", "b") for i in range(4)]

    @reward
    def broken(samples: Samples) -> list[float]:
        raise ZeroDivisionError("oops")

    @reward
    def asleep(samples: Samples) -> list[float]:
        time.sleep(3)
        return [0.0] * len(samples)

    for bad in (broken, Runner(asleep, timeout_s=0.05, isolate="thread", workers=4)):
        with pytest.raises(RewardError):
            align(records, llama, "rloo", reward=bad, out=tmp_path / "run", overwrite=True, **{"sampling.limit": 4})
