"""From the demo's curves to numbers and sentences: onset, gold at equal KL, and what may be said of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.audit.overoptimisation import Onset, at_equal_kl, common_kl, onset
from guerdon.cli.demo.study import ARMS, DPO, PAR, PENALTY, PESSIMISTIC, RAW
from guerdon.lab.stats import paired_interval

RULE = (
    "Rule: over-optimisation has set in where gold, smoothed over 7 steps, peaks, if afterwards it falls by more than "
    "four standard errors of a smoothed point while the learned reward goes on rising. KL is exact over the vocabulary "
    "at the sampled steps; gold and proxy are means over the very samples trained on. The peak of a noisy curve lies a "
    "little too high."
)
EQUAL_RULE = (
    "Gold where each run first reaches that KL, mean of the seeds, and differences paired by seed with their 95 % "
    "t-interval (not corrected for their number). At equal steps whatever shrinks the reward moves less and looks "
    "better; at equal KL it does not. A dash: not every seed gets there."
)
KL_POINTS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0)
NAMES = {RAW: "the raw reward", PAR: "PAR", PESSIMISTIC: "the pessimistic ensemble (mean − std of its members)"}
Seeds = Sequence[Mapping[str, Any]]


def analyse(seeds: Seeds) -> dict[str, Any]:
    """What ``curves.json`` holds."""
    arms = {arm: [seed["arms"][arm] for seed in seeds] for arm in ARMS}
    found = {
        arm: [onset(c["kl"], c["proxy"], c["gold"], min(7, len(c["kl"]) // 2)) for c in runs]
        for arm, runs in arms.items()
    }
    stored: dict[str, Any] = {
        "baseline": RAW,
        "seeds": [seed["seed"] for seed in seeds],
        "arms": arms,
        "grid": {arm: _grid(runs) for arm, runs in arms.items()},
        "onset": {arm: _over_seeds(onsets) for arm, onsets in found.items()},
        "equal": _equal(arms),
        "held_out": {name: _mean([seed["held_out"][name] for seed in seeds]) for name in ("start", *ARMS)},
        "rule": RULE,
        "equal_rule": EQUAL_RULE,
    }
    stored["findings"] = sentences(stored)
    return stored


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}


def _grid(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Gold and proxy of every seed on one KL grid [K], for the mean curve."""
    window = min(7, len(runs[0]["kl"]) // 2)
    ends = common_kl([r["kl"] for r in runs], 2, window)
    # Evenly in √KL, as it is drawn.
    kl = np.linspace(ends[0] ** 0.5, ends[1] ** 0.5, 60) ** 2 if len(ends) else ends
    inside = [[at_equal_kl(r["kl"], r[key], kl, window) for r in runs] for key in ("gold", "proxy")]
    fine = np.isfinite(np.concatenate([np.asarray(rows).reshape(-1, len(kl)) for rows in inside])).all(0)
    return {
        "kl": kl[fine].tolist(),
        "gold": [g[fine].tolist() for g in inside[0]],
        "proxy": [p[fine].tolist() for p in inside[1]],
    }


def _over_seeds(onsets: Sequence[Onset]) -> dict[str, Any]:
    """The onsets of one arm: found where most seeds show it; KL is the median of those that do."""
    shown = [o for o in onsets if o.found]
    fields = ("gold_start", "gold_peak", "gold_end", "drop", "proxy_rise")
    return {
        "seeds": len(onsets),
        "seeds_found": len(shown),
        "found": 2 * len(shown) > len(onsets),
        "kl": float(np.median([o.kl for o in shown])) if shown else None,
        "kl_range": [min(o.kl for o in shown), max(o.kl for o in shown)] if shown else None,
        **{name: float(np.mean([getattr(o, name) for o in onsets])) for name in fields},
    }


def _equal(arms: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> dict[str, Any]:
    """Gold of every arm at KL values that raw, PAR and the ensemble all pass through in every seed."""
    window = min(7, len(arms[RAW][0]["kl"]) // 2)
    shared = common_kl([run["kl"] for arm in (RAW, PAR, PESSIMISTIC) for run in arms[arm]], 2, window)
    kl = [k for k in KL_POINTS if len(shared) and shared[0] <= k <= shared[1]]
    values = {
        arm: [at_equal_kl(r["kl"], r["gold"], kl, min(window, len(r["kl"]) // 2)) for r in runs]
        for arm, runs in arms.items()
    }
    means = {arm: [_average([v[i] for v in rows]) for i in range(len(kl))] for arm, rows in values.items()}
    gaps = {
        arm: [_gap([(a[i], b[i]) for a, b in zip(rows, values[RAW], strict=True)]) for i in range(len(kl))]
        for arm, rows in values.items()
        if arm != RAW
    }
    return {"kl": kl, "gold": means, "difference": gaps}


def _average(values: Sequence[float]) -> float | None:
    """The mean where every seed got there, else None."""
    return float(np.mean(values)) if np.isfinite(values).all() else None


def _gap(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    differences = [a - b for a, b in pairs if math.isfinite(a - b)]
    if len(differences) < max(2, len(pairs)):
        return {"mean": None, "low": None, "high": None, "n": len(differences)}
    found = paired_interval(differences)
    return {"mean": found.estimate, "low": found.low, "high": found.high, "n": found.n}


def sentences(stored: Mapping[str, Any]) -> list[str]:
    """What the numbers say, in words; each sentence follows from numbers in the tables."""
    raw = stored["onset"][RAW]
    said = [_raw(raw), *(_shaped(stored, arm) for arm in (PAR, PESSIMISTIC)), _penalty(stored), _dpo(stored)]
    return said


def _raw(raw: Mapping[str, Any]) -> str:
    if not raw["seeds_found"]:
        return (
            f"With the raw reward no over-optimisation is seen in {raw['seeds']} seeds: gold goes from "
            f"{raw['gold_start']:.2f} to "
            f"{raw['gold_end']:.2f}; a longer run might show it."
        )
    low, high = raw["kl_range"]
    return (
        f"With the raw reward over-optimisation is seen in {raw['seeds_found']} of {raw['seeds']} seeds, at KL "
        f"{raw['kl']:.1f} "
        f"(range {low:.1f} to {high:.1f}): gold rises from {raw['gold_start']:.2f} to {raw['gold_peak']:.2f}, then "
        f"falls to "
        f"{raw['gold_end']:.2f}, while the learned reward rises by another {raw['proxy_rise']:.2f} standard "
        f"deviations."
    )


def _shaped(stored: Mapping[str, Any], arm: str) -> str:
    mine = stored["onset"][arm]
    state = f"is seen in {mine['seeds_found']} of {mine['seeds']} seeds" if mine["seeds_found"] else "is not seen"
    text = f"With {NAMES[arm]} over-optimisation {state}, and gold ends at {mine['gold_end']:.2f}."
    equal = stored["equal"]
    gaps = [(k, g) for k, g in zip(equal["kl"], equal["difference"][arm], strict=True) if g["mean"] is not None]
    if not gaps:
        return text + " The runs share no range of KL, so nothing can be said at equal KL."
    better, worse = sum(g["low"] > 0 for _, g in gaps), sum(g["high"] < 0 for _, g in gaps)
    means = [g["mean"] for _, g in gaps]
    said = (
        f"{text} At equal KL, from {gaps[0][0]:g} to {gaps[-1][0]:g} nats, its gold differs from the raw reward's "
        f"by {min(means):+.2f} to {max(means):+.2f}: "
    )
    if better or worse:
        return f"{said}better at {better}, worse at {worse} of {len(gaps)} points, judged by 95 % intervals."
    return f"{said}no difference that these seeds can show."


def _penalty(stored: Mapping[str, Any]) -> str:
    raw, mine = stored["held_out"][RAW], stored["held_out"][PENALTY]
    text = (
        f"The plain remedy, subtracting 0.1 KL from the raw reward, ends at KL {mine['kl']:.1f} instead of "
        f"{raw['kl']:.1f} and at gold {mine['gold']:.2f} instead of {raw['gold']:.2f} on held-out prompts"
    )
    if mine["gold"] > raw["gold"]:
        return f"{text}: staying close is the baseline that any shaping has to beat."
    return f"{text}: in this short run it does not help."


def _dpo(stored: Mapping[str, Any]) -> str:
    start, mine = stored["held_out"]["start"], stored["held_out"][DPO]
    return (
        f"DPO on the same pairs ends at gold {mine['gold']:.2f} on held-out prompts (start {start['gold']:.2f}) at KL "
        f"{mine['kl']:.1f}."
    )
