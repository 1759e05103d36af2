"""The power report: rows from made-up numbers, the page, and that what it runs does run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from guerdon.lab import power, power_hump, power_runs
from guerdon.lab.results import Result, Run
from guerdon.lab.text_gold import Annotator, Condition

REPOSITORY = Path(__file__).resolve().parents[2]


def survey(name: str, values: list[dict[str, float]]) -> Result:
    experiment = power.EXPERIMENTS[name]
    runs = tuple(Run("reporting", experiment.method, {}, s, v, 1.0) for s, v in enumerate(values))
    return Result(experiment.slug, experiment.describe(), "x", {}, 1, False, runs)


def effect(name: str, method: list[float], baseline: list[float]) -> Result:
    experiment = power.EXPERIMENTS[name]
    runs = tuple(
        Run("reporting", arm, {}, seed, {"gold": g}, 1.0)
        for arm, golds in zip(experiment.arms, (method, baseline), strict=True)
        for seed, g in zip(experiment.reporting_seeds, golds, strict=True)
    )
    return Result(experiment.slug, experiment.describe(), experiment.hash(), {}, 1, False, runs)


def humps(last: float) -> Result:
    curve = {1: 1.0, 4: 1.5, 16: 2.0, 64: 1.9, 256: 1.8, 1024: last}
    return survey(
        "hump",
        [
            {**{f"gold@{n}": g + 0.01 * s for n, g in curve.items()}, **{f"proxy@{n}": n + 0.1 * s * n for n in curve}}
            for s in range(8)
        ],
    )


def test_a_hump_needs_a_rise_and_a_fall() -> None:
    assert power.hump_rows(humps(1.5), "text/gold", 1024)[0].met
    assert not power.hump_rows(humps(2.1), "text/gold", 1024)[0].met


def test_a_placebo_must_not_be_reproduced() -> None:
    clear = effect("placebo", [1.5 + 0.01 * s for s in range(8)], [1.0] * 8)
    assert not power.verdict_row(clear, "q", wanted=False).met
    assert power.verdict_row(clear, "q").met
    nothing = effect("placebo", [1.0 + 0.01 * (-1) ** s for s in range(8)], [1.0] * 8)
    assert power.verdict_row(nothing, "q", wanted=False).met


def test_a_stale_result_meets_nothing() -> None:
    stale = replace(effect("placebo", [1.0] * 8, [1.0] * 8), sources_hash="old")
    assert not power.verdict_row(stale, "q", wanted=False).met


def test_rates_are_shares_of_whole_experiments() -> None:
    def draw(better: str, placebo: str) -> dict[str, float]:
        out = {"better: estimate": 0.1, "placebo: estimate": 0.0}
        for s in ("reproduced", "not reproduced", "inconclusive"):
            out[f"better: {s}"], out[f"placebo: {s}"] = float(s == better), float(s == placebo)
        return out

    good = power.rates_rows(survey("rates", [draw("reproduced", "inconclusive")] * 20))
    assert [r.met for r in good] == [True, True]
    bad = power.rates_rows(survey("rates", [draw("inconclusive", "reproduced")] * 20))
    assert [r.met for r in bad] == [False, False]
    assert "reproduced 100.0%" in good[0].measured


def test_a_knob_must_move_gold_by_two_pooled_deviations() -> None:
    def setting(name: str, centre: float) -> tuple[str, Result]:
        # Values ±0.1 around the centre: sd 0.1069.
        return name, survey(name, [{"gold": centre + 0.1 * (-1) ** s} for s in range(8)])

    results = dict(
        [
            setting("knob-default", 2.0),
            setting("knob-noise", 1.7),
            setting("knob-length", 1.8),
            setting("knob-coverage", 2.3),
        ]
    )
    rows = power.knob_rows(results, "text/gold", "gold")
    assert [r.met for r in rows] == [True, False, True]
    assert "2.8 pooled sd" in rows[0].measured


def test_hacking_is_a_rise_a_fall_and_a_rising_proxy() -> None:
    def curve(peak: float, end: float, proxy: float) -> dict[str, float]:
        return {"gold@0": 1.5, "gold@20": peak, "gold@80": end, "proxy@0": 0.0, "proxy@20": 1.0, "proxy@80": proxy}

    hacked, held = curve(2.3, -1.0, 4.0), curve(2.3, 2.2, 4.0)
    assert power.hack_rows(survey("hack", [hacked] * 6 + [held] * 2))[0].met
    assert not power.hack_rows(survey("hack", [hacked] * 5 + [held] * 3))[0].met
    assert not power.hack_rows(survey("hack", [curve(2.3, -1.0, 0.5)] * 8))[0].met


def test_the_page_keeps_what_people_wrote() -> None:
    page = f"before\n{power.BEGIN}\nold\n{power.END}\nafter\n"
    made = power.with_table(page, "new")
    assert made == f"before\n{power.BEGIN}\nnew\n{power.END}\nafter\n"
    assert power.with_table(made, "new") == made


def test_the_page_shows_the_stored_report() -> None:
    stored = REPOSITORY / "results" / "power.json"
    if not stored.exists():
        pytest.skip("no stored power report")
    assert power.table(json.loads(stored.read_text())) in (REPOSITORY / "docs" / "lab.md").read_text()


def test_reported_seeds_were_not_looked_at_before() -> None:
    for name, experiment in power.EXPERIMENTS.items():
        if name != "rates":  # its seeds number draws of the protocol, each with seeds of its own
            assert not set(experiment.reporting_seeds) & set(range(10)), name


def test_what_finite_runs_does_run() -> None:
    share = power_runs.planted_finite("better", {"ridge": 1.0, "flips": 0.0}, 3, True)["share"]
    assert 0.5 < share <= 1.0
    assert share == power_runs.planted_finite("better", {"ridge": 1.0, "flips": 0.0}, 3, True)["share"]
    assert share != power_runs.planted_finite("placebo", {"ridge": 1.0}, 3, True)["share"]
    default, fond = (power_runs.knobs_finite("", {"knob": k}, 3, True)["share"] for k in ("default", "length"))
    assert fond < default
    assert set(power_runs.finite_objectives("dpo", {"lr": 0.05}, 3, True)) == {"gold", "kl"}


def test_best_of_n_on_finite_is_exact_and_the_proxy_always_gains() -> None:
    found = power_hump.hump_finite("", {"pairs": 60, "length": 0.5}, 3, True)
    proxy = [found[f"proxy@{n}"] for n in power_hump.NS]
    assert proxy == sorted(proxy)


def test_one_draw_of_the_protocol_gives_one_status_each() -> None:
    drawn = power_runs.rates("", {}, 5, True)
    for method in ("better", "placebo"):
        assert sum(drawn[f"{method}: {s}"] for s in ("reproduced", "not reproduced", "inconclusive")) == 1.0


def test_what_text_runs_does_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    torch.set_num_threads(1)
    tiny = Condition(Annotator(40), demonstrations=100, warm_up_steps=5)
    monkeypatch.setattr(power_runs, "_small", lambda smoke, condition: tiny)
    found = power_runs.overoptimisation("hack", {}, 3, True)
    assert {"gold@0", "gold@2", "gold@4", "proxy@4", "kl@4"} <= set(found)
    assert found["kl@0"] == 0.0
