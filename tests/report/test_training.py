"""What a training report says: trends against noise, the hack watch, and a real run of control with nothing but
metrics."""

import json
import math
from pathlib import Path

import pytest

from guerdon.audit.trends import trend
from guerdon.report import build_report, curves
from guerdon.report.advice import advise, signs
from guerdon.report.training import training_section
from tests.report.conftest import hacked, write


def test_a_trend_is_told_from_noise_by_hand() -> None:
    rising = trend([float(i) for i in range(20)])
    assert rising is not None
    assert (rising.start, rising.end, rising.error) == (0.5, 18.5, 0.0)  # means of the first and last two; no noise
    assert rising.rose and not rising.fell
    noisy = trend([(-1.0) ** i for i in range(40)] + [0.5])
    assert noisy is not None and not noisy.rose and not noisy.fell
    assert trend([]) is None
    single = trend([3.0])
    assert single is not None and not single.rose and not single.fell


def test_points_leave_out_what_was_not_measured_or_not_finite() -> None:
    history = [{"round": 1, "x": 1.0}, {"round": 2}, {"round": 3, "x": None}, {"round": 4, "x": math.inf}, {"x": 2}]
    assert curves.points(history, "x") == ([1.0, 5.0], [1.0, 2.0])


def test_smoothing_shifts_nothing_and_leaves_short_curves_alone() -> None:
    assert curves.smoothed([1.0] * 14) is None
    line = [float(i) for i in range(30)]
    assert curves.smoothed(line) == pytest.approx(line)


def test_an_exploited_run_fires_the_watch_and_a_healthy_one_does_not() -> None:
    fired = {s.measured for s in signs(hacked()) if s.bad}
    assert fired == {"gold reward", "length of samples", "different answers on held-out starts", "entropy a step"}
    said = advise(hacked(), {}, {})
    assert any("gold reward went from" in s for s in said.wrong) and said.todo
    assert not any("more rounds" in s for s in said.todo)
    healthy = [{"round": r, "reward": r / 40 + 0.01 * math.sin(7 * r), "entropy": 1.0} for r in range(40)]
    said = advise(healthy, {}, {})
    assert not said.wrong and any("rose" in s for s in said.good) and any("still rising" in s for s in said.todo)


def test_few_rounds_say_nothing_about_trends() -> None:
    said = advise(hacked(3), {}, {})
    assert not [s for s in signs(hacked(3)) if s.bad]
    assert not said.good and any("too few" in s for s in said.todo)


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("frac_reward_zero_std", 0.9, "same reward"),
        ("frac_reward_failed", 0.1, "failed"),
        ("clip_ratio", 0.6, "clipped"),
        ("grad_norm", 0.0, "nothing is learned"),
        ("loss", None, "Not finite"),
    ],
)
def test_what_is_wrong_is_said(metric: str, value: float | None, words: str) -> None:
    history = [{"round": r, "reward": 1.0, metric: value} for r in range(1, 21)]
    assert any(words in s for s in advise(history, {}, {}).wrong)


def test_an_unfinished_run_says_how_it_goes_on() -> None:
    assert any("goes on" in s for s in advise([], {}, {"status": "running"}).todo)


def test_every_metric_is_somewhere() -> None:
    history = [{"round": r, "reward": r, "odd/thing": r * r, "still": 2.0} for r in range(5)]
    body = training_section(history, {}, {}).body
    assert "odd/thing" in body and "1 more metrics" in body and "Never changed: still 2." in body


def test_a_run_of_control_gives_a_whole_report(tmp_path: Path) -> None:
    """A run from Python, without tokens, summary or run.json."""
    from dataclasses import replace

    from guerdon.lab import gym
    from guerdon.training import Every, run

    bed = gym.build("cartpole", starts=8, held_out=2)
    recipe = gym.online(bed, rounds=3, starts=2)
    recipe = replace(recipe, evals=(Every(1, lambda _: gym.evaluate(bed, recipe.snapshots), "eval"),))
    run(recipe, tmp_path)
    text = build_report(tmp_path).read_text()
    for wanted in ("Training run", "Hack watch", "eval/return", "reward against round", "too few", "No run.json"):
        assert wanted in text, wanted


def test_a_run_of_diffusion_gives_a_whole_report(tmp_path: Path) -> None:
    """The same names as for text and control: reward, KL, entropy, loss."""
    from guerdon.lab import flows
    from guerdon.lab.digits.training import Fit
    from guerdon.training import run

    bed = flows.build(0, fit=Fit(steps=5))
    run(flows.online(bed, flows.nearness((2.0, 0.0)), rounds=2, rows=8), tmp_path)
    text = build_report(tmp_path).read_text()
    for wanted in ("reward against round", "kl against round", "grad_norm against round", "too few"):
        assert wanted in text, wanted


def test_settings_and_command_are_folded_away(tmp_path: Path) -> None:
    run = {"verb": "align", "command": "guerdon align x", "config": {"seed": 1, "optim": {"lr": None}}}
    text = build_report(write(tmp_path, run=run, metrics=hacked(2))).read_text()
    fold = text[text.index("<footer>") :]
    assert "<details>" in fold and "guerdon align x" in fold and "optim.lr" in fold and "default" in fold
    assert json.loads((tmp_path / "run.json").read_text()) == run
