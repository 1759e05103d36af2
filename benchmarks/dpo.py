"""DPO on real pairs beside TRL's DPOTrainer: the same loss curve on the same batches, then each as fast as it can."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import arms
from benchmarks.page import Ratio, Section, table

TITLE = "DPO beside TRL"
ARMS = ("trl", "ours")
TOLD = ("pairs_a_second", "seconds", "memory_mb", "held_out_loss")

SWEEP_PAIRS, FREE_PAIRS, SAME_PAIRS, HELD_OUT, BATCH = 48, 384, 192, 128, 16

TRL_SETTINGS: tuple[dict[str, Any], ...] = (
    {"micro": 1, "grouped": False, "precompute": True, "bf16": False, "threads": 2},
    {"micro": 1, "grouped": True, "precompute": True, "bf16": False, "threads": 2},
    {"micro": 4, "grouped": True, "precompute": True, "bf16": False, "threads": 2},
    {"micro": 16, "grouped": True, "precompute": True, "bf16": False, "threads": 2},
    {"micro": 1, "grouped": True, "precompute": True, "bf16": True, "threads": 2},
    {"micro": 2, "grouped": True, "precompute": True, "bf16": True, "threads": 2},
    {"micro": 1, "grouped": True, "precompute": False, "bf16": False, "threads": 2},
    {"micro": 1, "grouped": True, "precompute": False, "bf16": True, "threads": 2},
    {"micro": 1, "grouped": True, "precompute": True, "bf16": False, "threads": 1},
)
OUR_SETTINGS: tuple[dict[str, Any], ...] = (
    {"micro": 8, "bf16": False, "logits16": False, "threads": 2},
    {"micro": 8, "bf16": True, "logits16": False, "threads": 2},
    {"micro": 16, "bf16": True, "logits16": False, "threads": 2},
    {"micro": 4, "bf16": True, "logits16": True, "threads": 2},
    {"micro": 8, "bf16": True, "logits16": True, "threads": 2},
    {"micro": 16, "bf16": True, "logits16": True, "threads": 2},
    {"micro": 8, "bf16": True, "logits16": True, "threads": 1},
)
FINALISTS = {"trl": 4, "ours": 3}
"""Settings of the short sweep that run once at full length, where what a setting costs at the start weighs less."""
MEMORY = 0.6
"""Ours is the fastest finalist that takes at most this share of TRL's memory."""
SEEDS = (0, 1, 2, 3, 4)
"""Orders of the free runs: a held-out loss after one order differs from that after another by more than the arms do.
The arms take turns, order by order, so that a machine that slows down slows both; the finalists' runs do not count,
since the best of some runs is partly the luckiest."""


def run() -> dict[str, Any]:
    """Sweeps, the free-order arms at their best settings, the same-batches arms."""
    plain = {"method": "dpo", "batch": BATCH, "seed": 0, "order": None, "held_out": 0}
    sweeps = {
        "trl": [_tried("trl", {**plain, **s, "pairs": SWEEP_PAIRS}, s) for s in TRL_SETTINGS],
        "ours": [_tried("ours", {**plain, **s, "pairs": SWEEP_PAIRS}, s) for s in OUR_SETTINGS],
    }
    long = {**plain, "pairs": FREE_PAIRS, "held_out": HELD_OUT}
    tried = {
        arm: [{"settings": s, **_told(_arm(arm, {**long, **s}))} for s in _fastest(sweeps[arm], FINALISTS[arm])]
        for arm in ARMS
    }
    best = {"trl": max(tried["trl"], key=_speed)}
    lean = [t for t in tried["ours"] if t["memory_mb"] <= MEMORY * best["trl"]["memory_mb"]]
    best["ours"] = max(lean or tried["ours"], key=_speed)
    best = {arm: t["settings"] for arm, t in best.items()}
    turns = [{arm: _told(_arm(arm, {**long, **best[arm], "seed": seed})) for arm in ARMS} for seed in SEEDS]
    free = {arm: {**_mean([turn[arm] for turn in turns]), "tried": tried[arm]} for arm in ARMS}
    order = list(range(SAME_PAIRS))
    random.Random(0).shuffle(order)
    batches = [order[i : i + BATCH] for i in range(0, SAME_PAIRS, BATCH)]
    fixed = {"bf16": False, "logits16": False, "pairs": SAME_PAIRS, "held_out": HELD_OUT, "order": batches}
    same = {arm: _arm(arm, {**plain, **best[arm], **fixed}) for arm in ARMS}
    return {"sweeps": sweeps, "best": best, "free": free, "same": same}


def _speed(run: Mapping[str, Any]) -> float:
    return float(run["pairs_a_second"])


def _fastest(tried: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """The settings of the fastest, fastest first."""
    return [t["settings"] for t in sorted(tried, key=_speed, reverse=True)[:count]]


def _mean(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the orders, and every run's own numbers."""
    return {**{k: sum(r[k] for r in runs) / len(runs) for k in TOLD}, "runs": list(runs)}


def _told(run: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a free run."""
    return {k: run[k] for k in TOLD}


def _arm(arm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    shown = {k: v for k, v in settings.items() if k != "order"}
    print(f"  {arm} {shown}", flush=True)
    return arms.fresh(f"benchmarks.alignment:{arm}", settings, threads=settings["threads"])


def _tried(arm: str, settings: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The faster of two runs, so that whatever else the machine did for a moment picks no setting."""
    got = max((_arm(arm, settings) for _ in range(2)), key=_speed)
    return {"settings": dict(shown), **{k: got[k] for k in ("pairs_a_second", "memory_mb")}}


def page(result: Mapping[str, Any]) -> Section:
    """Text, tables and ratios."""
    free, same = result["free"], result["same"]
    apart = max(abs(a - b) for a, b in zip(same["ours"]["losses"], same["trl"]["losses"], strict=True))
    head = ("arm", "pairs a second", "seconds", "peak MB", "held-out loss")
    names = {"trl": "TRL", "ours": "guerdon"}
    orders = len(free["ours"]["runs"])
    text = f"""
A Llama of 5.3 M parameters (4 layers, width 256, 8,192 tokens, tied embeddings) on pairs of hh_rlhf (harmless), rows of
at most 512 tokens, {BATCH} pairs an update, AdamW (fused in both arms). Time runs from texts to the last
update: tokenising, the reference's log-probs and the updates; memory is the peak above what was held after import and
model load.

**Free order**, {FREE_PAIRS} pairs, means over {orders} orders in which the arms take turns, each at the fastest of its
settings below: the fastest of the sweep ran once over all {FREE_PAIRS} pairs, and the fastest of these was taken
(guerdon's among those that take at most {MEMORY} of TRL's memory). guerdon draws batches at random and packs them; TRL
may group pairs of similar length.

{table(head, [[names[a], *(free[a][k] for k in TOLD)] for a in ARMS])}

**The same batches in the same order**, {SAME_PAIRS} pairs, both in float32: the two loss curves differ by at most
{apart:.1e}.

{table(head, [[names[a], *(same[a][k] for k in TOLD)] for a in ARMS])}

What was tried ({SWEEP_PAIRS} pairs each, the faster of two runs; then one run over {FREE_PAIRS} pairs; micro: pairs a
forward pass; bf16: TRL's by autocast, logits and all, guerdon's the backbone's products, with logits16 also the one
that makes logits):

{_sweep(result, "trl", names)}

{_sweep(result, "ours", names)}
"""
    fast = free["ours"]["pairs_a_second"] / free["trl"]["pairs_a_second"]
    return Section(
        text,
        (
            Ratio("free order: pairs a second, guerdon / TRL", fast, 4.0),
            Ratio(
                "free order: peak memory, guerdon / TRL",
                free["ours"]["memory_mb"] / free["trl"]["memory_mb"],
                MEMORY,
                False,
            ),
            Ratio(
                "free order: held-out loss, guerdon − TRL",
                free["ours"]["held_out_loss"] - free["trl"]["held_out_loss"],
                0.02,
                False,
            ),
            Ratio("same batches: largest difference of the loss curves", apart, 1e-3, False),
        ),
    )


def _sweep(result: Mapping[str, Any], arm: str, names: Mapping[str, str]) -> str:
    tried, best = result["sweeps"][arm], result["best"][arm]
    keys = list(tried[0]["settings"])
    last = [(t["settings"], t["pairs_a_second"]) for t in result["free"][arm]["tried"]]
    rows = [
        [
            names[arm] + (" (taken)" if t["settings"] == best else ""),
            *(str(t["settings"][k]) for k in keys),
            t["pairs_a_second"],
            next((speed for settings, speed in last if settings == t["settings"]), ""),
            t["memory_mb"],
        ]
        for t in tried
    ]
    return table(("arm", *keys, "pairs a second", f"over {FREE_PAIRS}", "peak MB"), rows)
