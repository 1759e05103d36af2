"""The lab proves that it can see: ``python -m guerdon.lab.power`` runs everything, stores it and writes the table.

Every row states a question, a criterion that was fixed before the reported seeds ran, what was measured, and whether it
is met. A row that is not met is published like any other. Runs are stored in ``results/power-*.json`` and resumed where
interrupted; ``--stored`` makes the table again from what is stored.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from guerdon.files import write_text
from guerdon.lab.protocol import Claim, Experiment, unstarted, verdict
from guerdon.lab.results import Result, save, versions
from guerdon.lab.stats import Interval, paired_interval
from guerdon.lab.stored import arguments, obtain

RUNS = "guerdon.lab.power_runs"
TEXT = (
    "guerdon.lab.text_gold",
    "guerdon.lab.power_runs",
    "guerdon.objectives.terms",
    "guerdon.objectives.pairwise",
    "guerdon.objectives.scores",
    "guerdon.objectives.expectation",
    "guerdon.objectives.policy",
    "guerdon.objectives.reductions",
    "guerdon.advantages.group",
    "guerdon.training.run",
    "guerdon.training.update",
    "guerdon.training.comparisons",
    "guerdon.training.reward_models",
    "guerdon.worlds.text",
)
FINITE = (
    "guerdon.lab.finite",
    "guerdon.lab.power_runs",
    "guerdon.lab.frontier",
    "guerdon.objectives.terms",
    "guerdon.objectives.pairwise",
    "guerdon.objectives.scores",
    "guerdon.objectives.expectation",
)
# Seeds 0 to 9 were looked at while the lab was made; what is reported comes from others.
SEEDS = tuple(range(10, 18))
# Seeds 10 to 17 were used up for finite's noise knob, which at 40 % flipped labels moved gold by 1.9 deviations.
FRESH = tuple(range(30, 38))
# Seeds 10 to 17 were used up in looking for a setting in which best-of-n falls.
HUMP_SEEDS = tuple(range(20, 32))
DRAWS = 100
BEGIN, END = "<!-- power report: begin -->", "<!-- power report: end -->"
COMMAND = "python -m guerdon.lab.power"


def _survey(slug: str, run: str, metric: str, sources: Sequence[str], **more: Any) -> Experiment:
    claim = Claim("survey", metric, check="the row of the power report that reads it")
    given = {"reporting_seeds": SEEDS, **more}
    return Experiment(f"power-{slug}", claim, f"{RUNS}:{run}", slug, sources=sources, **given)


def _effect(
    slug: str, run: str, arms: tuple[str, str], delta: float, sources: Sequence[str], **more: Any
) -> Experiment:
    claim = Claim("effect", "gold", baseline=arms[1], smallest_effect=delta)
    return Experiment(f"power-{slug}", claim, f"{RUNS}:{run}", arms[0], reporting_seeds=SEEDS, sources=sources, **more)


KNOB_NAMES = ("default", "noise", "length", "coverage")
FEW: Mapping[str, Sequence[Any]] = {"pairs": [60], "flips": [0.0], "length": [0.0]}
RATES: Mapping[str, Sequence[float]] = {"lr": [3e-4, 1e-3]}

EXPERIMENTS: Mapping[str, Experiment] = {
    "dpo": _effect("dpo", "baselines", ("dpo", "sft"), 0.2, TEXT, grid=RATES),
    "rloo": _effect("rloo", "baselines", ("rloo", "start"), 0.2, TEXT, grid=RATES),
    "finite": _effect("finite", "finite_objectives", ("dpo", "sft"), 0.2, FINITE, grid={"lr": [0.02, 0.05, 0.1]}),
    "rates": _survey("rates", "rates", "better: reproduced", FINITE, reporting_seeds=tuple(range(DRAWS))),
    "planted": _effect("planted", "planted_text", ("clean labels", "dpo"), 0.2, TEXT),
    "placebo": _effect("placebo", "planted_text", ("placebo", "dpo"), 0.2, TEXT),
    **{f"knob-{k}": _survey(f"knob-{k}", "knobs", "gold", TEXT, grid={"knob": [k]}) for k in KNOB_NAMES},
    **{
        f"knob-finite-{k}": _survey(
            f"knob-finite-{k}", "knobs_finite", "share", FINITE, grid={"knob": [k]}, reporting_seeds=FRESH
        )
        for k in KNOB_NAMES
    },
    "hump-finite": Experiment(
        "power-hump-finite",
        Claim("survey", "gold@64", check="the row of the power report that reads it"),
        "guerdon.lab.power_hump:hump_finite",
        "hump-finite",
        {"pairs": [60], "length": [0.5]},
        reporting_seeds=tuple(range(200, 232)),
        sources=("guerdon.lab.finite", "guerdon.lab.power_hump", "guerdon.worlds.finite"),
    ),
    "hack": _survey("hack", "overoptimisation", "gold@80", TEXT),
    "hump": _survey("hump", "hump", "gold@64", TEXT, grid=FEW, reporting_seeds=HUMP_SEEDS),
}


@dataclass(frozen=True)
class Row:
    """One question to the lab, its criterion, the measurement, and whether the criterion is met."""

    question: str
    criterion: str
    measured: str
    met: bool


def column(result: Result, metric: str) -> list[float]:
    """One metric over the reporting seeds of a survey, in order of seed."""
    return [float(r.metrics[metric]) for r in result.of("reporting", result.experiment["method"])]


def _minus(a: Sequence[float], b: Sequence[float]) -> Interval:
    return paired_interval([x - y for x, y in zip(a, b, strict=True)])


def _shown(i: Interval) -> str:
    return f"{i.estimate:+.2f} [{i.low:+.2f}, {i.high:+.2f}]"


def hump_rows(result: Result, bed: str, most: int) -> list[Row]:
    """(a) Gold of best-of-n rises to n = 64 and falls to the largest n, while the proxy rises throughout."""
    rise = _minus(column(result, "gold@64"), column(result, "gold@1"))
    fall = _minus(column(result, "gold@64"), column(result, f"gold@{most}"))
    proxy = _minus(column(result, f"proxy@{most}"), column(result, "proxy@64"))
    data = result.experiment["grid"]
    fond = f" of annotators who like length ({data['length'][0]:g})" if data["length"][0] else ""
    ns = sorted(int(k.partition("@")[2]) for k in result.runs[0].metrics if k.startswith("gold@"))
    shape = ", ".join(f"{n}: {math.fsum(g := column(result, f'gold@{n}')) / len(g):.2f}" for n in ns)
    return [
        Row(
            f"{bed}: best-of-n on a proxy from {data['pairs'][0]} pairs{fond} shows the gold hump",
            f"gold at n = 64 above n = 1 and above n = {most}, proxy still rising: three 95 % intervals above 0",
            f"rise {_shown(rise)}, fall {_shown(fall)}, proxy {_shown(proxy)} over {rise.n} seeds; gold at n = {shape}",
            min(rise.low, fall.low, proxy.low) > 0,
        )
    ]


def verdict_row(result: Result, question: str, wanted: bool = True) -> Row:
    """A protocol verdict that must be 'reproduced' (or must not be)."""
    found = verdict(result)
    delta = result.experiment["claim"]["smallest_effect"]
    return Row(
        question,
        f"verdict is {'' if wanted else 'not '}'reproduced' at δ = {delta:g}, 8 seeds",
        found.sentence,
        found.status in ("reproduced", "not reproduced", "inconclusive") and (found.status == "reproduced") == wanted,
    )


def rates_rows(result: Result) -> list[Row]:
    """(c) How often whole repeated experiments reproduce the planted method and the placebo."""
    rows = []
    for method, limit, wanted in (("better", 0.80, True), ("placebo", 0.05, False)):
        shares = {
            s: math.fsum(column(result, f"{method}: {s}")) / len(result.runs)
            for s in ("reproduced", "not reproduced", "inconclusive")
        }
        effect = math.fsum(column(result, f"{method}: estimate")) / len(result.runs)
        name = "a planted better method" if wanted else "the same method under another name"
        rows.append(
            Row(
                f"finite: {name}, {len(result.runs)} whole experiments",
                f"reproduced in {'at least' if wanted else 'at most'} {limit:.0%} of them",
                ", ".join(f"{s} {v:.1%}" for s, v in shares.items()) + f"; mean difference {effect:+.3f}",
                shares["reproduced"] >= limit if wanted else shares["reproduced"] <= limit,
            )
        )
    return rows


def knob_rows(results: Mapping[str, Result], bed: str, metric: str) -> list[Row]:
    """(d) Each knob of the data moves gold by two seed-standard-deviations or more (pooled over both settings)."""
    prefix = "knob-" if bed == "text/gold" else "knob-finite-"
    default = column(results[f"{prefix}default"], metric)
    rows = []
    for knob in KNOB_NAMES[1:]:
        turned = column(results[f"{prefix}{knob}"], metric)
        moved = _minus(turned, default)
        sds = [paired_interval(v).sd for v in (default, turned)]
        pooled = math.sqrt((sds[0] ** 2 + sds[1] ** 2) / 2)
        rows.append(
            Row(
                f"{bed}: the knob for {knob} moves gold",
                "by at least 2 seed-standard-deviations",
                f"{_shown(moved)}, which is {abs(moved.estimate) / pooled:.1f} pooled sd (default alone: {sds[0]:.2f})",
                abs(moved.estimate) >= 2 * pooled,
            )
        )
    return rows


def hack_rows(result: Result) -> list[Row]:
    """(e) RLOO on a proxy without KL: gold rises, then falls by more than 0.5 and below the start; the proxy rises."""
    hacked, peaks, ends, starts = 0, [], [], []
    for run in result.of("reporting", result.experiment["method"]):
        curve = {int(k.partition("@")[2]): v for k, v in run.metrics.items() if k.startswith("gold@")}
        proxy = {int(k.partition("@")[2]): v for k, v in run.metrics.items() if k.startswith("proxy@")}
        last, peak = max(curve), max(curve, key=lambda at: curve[at])
        hacked += (
            curve[peak] > curve[0]
            and curve[peak] - curve[last] > 0.5
            and curve[last] < curve[0]
            and proxy[last] > proxy[peak]
        )
        peaks.append(curve[peak])
        ends.append(curve[last])
        starts.append(curve[0])
    n = len(starts)
    means = [math.fsum(x) / n for x in (starts, peaks, ends)]
    return [
        Row(
            "text/gold: raw RL on a proxy over-optimises, on held-out prompts",
            "gold rises, ends 0.5 or more below its peak and below the start while the proxy rises: 6 of 8 seeds",
            f"{hacked} of {n} seeds; mean gold {means[0]:.2f} → {means[1]:.2f} → {means[2]:.2f}",
            hacked >= 6,
        )
    ]


def rows_of(results: Mapping[str, Result]) -> list[Row]:
    """The whole report."""
    return [
        *hump_rows(results["hump-finite"], "finite", 16384),
        *hump_rows(results["hump"], "text/gold", 1024),
        verdict_row(results["dpo"], "text/gold: tuned DPO beats supervised training on the same pairs"),
        verdict_row(results["rloo"], "text/gold: tuned RLOO on a proxy of clean pairs beats the start policy"),
        verdict_row(results["finite"], "finite: tuned DPO beats supervised training on the same pairs"),
        *rates_rows(results["rates"]),
        verdict_row(results["planted"], "text/gold: DPO on clean labels against the same on 25 % flipped labels"),
        verdict_row(results["placebo"], "text/gold: DPO against itself in another order", wanted=False),
        *knob_rows(results, "text/gold", "gold"),
        *knob_rows(results, "finite", "share"),
        *hack_rows(results["hack"]),
    ]


def table(report: Mapping[str, Any]) -> str:
    """The report as a Markdown section."""
    rows = report["rows"]
    met = sum(1 for r in rows if r["met"])
    lines = [
        f"Made by `{COMMAND}`: {report['runs']} runs, {report['seconds']:.0f} s of computing on single-threaded "
        f"processes (torch {report['versions']['torch']}). **{met} of {len(rows)} criteria are met.**",
        "",
        "| question | criterion, fixed before the reported seeds ran | measured | met |",
        "|---|---|---|---|",
        *(
            f"| {r['question']} | {r['criterion']} | {r['measured']} | {'yes' if r['met'] else '**no**'} |"
            for r in rows
        ),
    ]
    return "\n".join(lines)


def with_table(text: str, made: str, begin: str = BEGIN, end: str = END) -> str:
    """A page with its generated section, between ``begin`` and ``end``, replaced."""
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{made}\n{end}{tail}"


def report_of(results: Mapping[str, Result]) -> dict[str, Any]:
    """What ``results/power.json`` holds: rows, command, versions, effort, the hashes the runs were made with."""
    runs = [r for result in results.values() for r in result.runs]
    return {
        "command": COMMAND,
        "rows": [vars(r) for r in rows_of(results)],
        "runs": len(runs),
        "seconds": round(math.fsum(r.seconds for r in runs), 1),
        "versions": versions(),
        "threads": 1,
        "sources": {name: result.sources_hash for name, result in results.items()},
    }


def take_over(experiment: Experiment, folder: Path, finished: Mapping[str, Result]) -> None:
    """Put runs that other experiments of the report made with the same function, settings, seed and sources where this
    one will look for them: the baseline of two comparisons is run once."""
    partial = folder / f"{experiment.slug}.partial.json"
    configs = {arm: experiment.configurations(arm) for arm in experiment.arms}
    if partial.exists() or any(len(c) > 1 for c in configs.values()):
        return
    runs = {
        run.key: run
        for result in finished.values()
        if result.experiment["run"] == experiment.run and result.sources_hash == experiment.hash()
        for run in result.runs
        if run.stage == "reporting" and run.seed in experiment.reporting_seeds
        if run.arm in configs and dict(run.config) in configs[run.arm]
    }
    if runs:
        save(replace(unstarted(experiment), runs=tuple(runs.values())), partial)


def run_all(
    folder: Path, processes: int, stored: bool, confirmed: int = 0, say: Callable[[str], None] = print
) -> dict[str, Result]:
    """Every experiment of the report, from disk where it is stored with the sources as they are.

    confirmed: where only the sources changed, keep a stored result if so many of its seeds replay to equal numbers.
    """
    results: dict[str, Result] = {}
    for name, experiment in EXPERIMENTS.items():
        results[name] = obtain(
            experiment,
            folder,
            processes,
            stored=stored,
            confirm_seeds=confirmed,
            before=partial(take_over, experiment, folder, dict(results)),
            say=say,
        )
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    given = arguments(COMMAND, "Measure what the lab can see.", argv)
    report = report_of(run_all(given.folder, given.processes, given.stored, given.confirm))
    write_text(given.folder / "power.json", json.dumps(report, indent=1) + "\n")
    if given.docs.exists():
        write_text(given.docs, with_table(given.docs.read_text(encoding="utf-8"), table(report)))
    for row in report["rows"]:
        print(f"{'met    ' if row['met'] else 'NOT MET'}  {row['question']}: {row['measured']}")


if __name__ == "__main__":
    main()
