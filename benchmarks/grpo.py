"""GRPO steps beside TRL's GRPOTrainer, and sampling beside transformers' ``generate``: one task, the same rows a step,
generation, re-scoring and update timed apart."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import grpo_ours, grpo_sampling, grpo_task, grpo_trl
from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table

TITLE = "GRPO"
BETAS = (0.04, 0.0)
STAGES = ("generation", "re-scoring", "reward", "shaping", "audit", "update", "step")
BATCHES = ((1, 8), (8, 8), (32, 8))
"""(prompts, samples of each) of the sampling arms."""


def run(
    steps: int = 5,
    tried: int = 2,
    repeats: int = 2,
    prompts: int = 8,
    per_start: int = 8,
    tokens: int = 64,
    layers: int = 4,
    batches: Sequence[tuple[int, int]] = BATCHES,
    made: bool = False,
    narrow: bool = False,
) -> dict[str, Any]:
    """Sweep both arms on ``tried`` steps, then ``steps`` steps of each at its fastest settings, for every β. made:
    prompts of made words instead of real ones. narrow: no sweep."""
    size = {"prompts": prompts, "per_start": per_start, "tokens": tokens}
    with tempfile.TemporaryDirectory() as folder:
        task = {"folder": grpo_task.write(folder, layers, made), **size}
        short = {**task, "steps": tried, "beta": BETAS[0]}
        arms = {
            "peer": ("benchmarks.grpo_trl:arm", grpo_trl.SETTINGS, grpo_trl.TRIED),
            "ours": ("benchmarks.grpo_ours:arm", grpo_ours.SETTINGS, grpo_ours.TRIED),
        }
        sweeps, best = {}, {}
        for name, (call, begin, changes) in arms.items():
            sweeps[name], best[name] = _swept(call, short, begin, () if narrow else changes)
        found = {}
        for beta in BETAS:
            given = {**task, "steps": steps, "beta": beta}
            found[str(beta)] = {name: _arm(arms[name][0], {**given, **best[name]}) for name in arms}
        first = found[str(BETAS[0])]["peer"]
        replay = {**task, **best["ours"], "beta": BETAS[0], "steps": 1, "rows": first["rows"], "bf16": False}
        agree = {"peer": _told(first), "ours": _told(_arm(arms["ours"][0], replay))}
        for both in found.values():
            del both["peer"]["rows"]
        return {
            "size": {**size, "steps": steps, "layers": layers},
            "sweeps": sweeps,
            "best": best,
            "betas": found,
            "agree": agree,
            "sampling": _sampling(task, batches, repeats, narrow),
        }


def _arm(call: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return fresh(call, settings, threads=settings["threads"])


def _told(arm: Mapping[str, Any]) -> dict[str, float]:
    return {k: arm[k] for k in ("loss", "grad_norm", "reward")}


def _seconds(result: Mapping[str, Any]) -> float:
    """What a sweep compares: the shortest step, or the shortest sampling."""
    return result["least"] if "least" in result else result["seconds"]


def _swept(
    call: str, task: Mapping[str, Any], begin: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """([{change, seconds, kept}], the fastest settings): each change is tried on the fastest settings so far, and stays
    where it is faster. A setting that the peer refuses here is told as such."""
    best = dict(begin)
    least = _seconds(_arm(call, {**task, **best}))
    rows: list[dict[str, Any]] = [{"change": "as it begins", "seconds": least, "kept": True}]
    for change in changes:
        told = ", ".join(f"{k} {v}" for k, v in change.items())
        try:
            seconds = _seconds(_arm(call, {**task, **best, **change}))
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1][:200]
            rows.append({"change": told, "seconds": None, "kept": False, "why": last})
            continue
        kept = seconds < least
        rows.append({"change": told, "seconds": seconds, "kept": kept})
        least, best = (seconds, {**best, **change}) if kept else (least, best)
    return rows, best


def _sampling(
    task: Mapping[str, Any], batches: Sequence[tuple[int, int]], repeats: int, narrow: bool
) -> dict[str, Any]:
    out: dict[str, Any] = {"sweeps": {}, "batches": []}
    best: dict[str, dict[str, Any]] = {}
    calls = {name: f"benchmarks.grpo_sampling:{name}" for name in ("peer", "ours")}
    begin = {"peer": grpo_sampling.PEER, "ours": grpo_sampling.OURS}
    changes = {"peer": grpo_sampling.PEER_TRIED, "ours": grpo_sampling.OURS_TRIED}
    for name, call in calls.items():
        short = {**task, "repeats": 1}
        out["sweeps"][name], best[name] = _swept(call, short, begin[name], () if narrow else changes[name])
    for prompts, per_start in batches:
        size = {**task, "prompts": prompts, "per_start": per_start, "repeats": repeats}
        arms = {name: _arm(call, {**size, **best[name]}) for name, call in calls.items()}
        out["batches"].append({"prompts": prompts, "per_start": per_start, **arms})
    return {**out, "best": best}


def page(result: Mapping[str, Any]) -> Section:
    """Steps by stage, what both agree on, sampling, the sweeps, and the ratios."""
    size, sampling, agree = result["size"], result["sampling"], result["agree"]
    rows, ratios = [], []
    for beta, both in result["betas"].items():
        step = {name: arm["median"]["step"] for name, arm in both.items()}
        for name, arm in both.items():
            rows.append([beta, name, *(arm["median"].get(k, 0.0) for k in STAGES), 1 / step[name]])
        ratios.append(Ratio(f"steps a second over TRL's, β = {beta}", step["peer"] / step["ours"], 3.0))
    mine = result["betas"][str(BETAS[0])]["ours"]["median"]
    share = (mine["shaping"] + mine["audit"]) / mine["step"]
    ratios.append(Ratio("share of a step in shaping, combination and audit", share, 0.05, at_least=False))
    gap = abs(agree["ours"]["grad_norm"] - agree["peer"]["grad_norm"]) / max(agree["peer"]["grad_norm"], 1e-9)
    tolerance = 1e-2 if result["best"]["peer"]["bf16"] else 1e-3
    ratios.append(Ratio("gradient norms on the same rows differ by", gap, tolerance, at_least=False))
    speeds = []
    for batch in sampling["batches"]:
        peer, ours = (batch[name]["tokens_per_second"] for name in ("peer", "ours"))
        count = batch["prompts"] * batch["per_start"]
        speeds.append([count, batch["prompts"], peer, ours, ours / peer])
        ratios.append(Ratio(f"tokens a second over generate's, {count} rows of {batch['prompts']}", ours / peer, 1.0))
    text = f"""
One step: {size["prompts"]} prompts × {size["per_start"]} samples × {size["tokens"]} tokens exactly, a Llama of
{size["layers"]} layers and width 256, real prompts of {grpo_task.SHORTEST} to {grpo_task.LONGEST} tokens in the same
order, AdamW, one update a step, the same reward (three components, one clipped, two standardised within their prompt, a
weighted sum). The peer is TRL's `GRPOTrainer` generating with transformers; ours is `training.presets.online("grpo")`
and `run` on a `TextWorld`. Seconds of the median of {size["steps"]} steps; "re-scoring" is the reference's
log-probabilities (neither needs old ones), "shaping" everything between the reward's functions and advantages, "audit"
the round's metrics, a best-policy keeper, a KL controller and the hack watch; "update" is all the rest.

{table(("β", "arm", *STAGES, "steps a second"), rows)}

On the rows of the peer's first step, both give (the reference still equals the policy, so that the loss is 0 up to
rounding):

{table(("arm", "loss", "gradient norm", "reward"), [[n, *agree[n].values()] for n in agree])}

Sampling alone, {size["tokens"]} tokens a row, from texts:

{table(("rows", "prompts", "generate, tokens a second", "ours", "ratio"), speeds)}

Settings tried, one change at a time; what was faster stayed. The peer's steps, from {_words(grpo_trl.SETTINGS)}:

{_sweep_table(result["sweeps"]["peer"])}

Our steps, from {_words(grpo_ours.SETTINGS)}:

{_sweep_table(result["sweeps"]["ours"])}

`generate`, from {_words(grpo_sampling.PEER)}:

{_sweep_table(sampling["sweeps"]["peer"])}

Our sampling, from {_words(grpo_sampling.OURS)}:

{_sweep_table(sampling["sweeps"]["ours"])}
"""
    return Section(text, ratios)


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in settings.items())


def _sweep_table(rows: Sequence[Mapping[str, Any]]) -> str:
    def told(row: Mapping[str, Any]) -> str:
        return f"does not run: {row['why']}" if row["seconds"] is None else "yes" if row["kept"] else "no"

    shown = [[r["change"], "" if r["seconds"] is None else r["seconds"], told(r).replace("|", "/")] for r in rows]
    return table(("change", "seconds", "stays"), shown)
