"""SimPO beside TRL's CPOTrainer and KTO beside its KTOTrainer: equal losses on the same batches, then each as fast as
it can."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table

TITLE = "SimPO and KTO beside TRL"
BATCH = 16
TITLES = {"simpo": "SimPO", "kto": "KTO"}
PEERS = {"simpo": "CPOTrainer (experimental), loss_type simpo, cpo_alpha 0", "kto": "KTOTrainer"}
ITEMS = {"simpo": "pairs", "kto": "rows"}
"""What batch, micro and the speeds count; a KTO row is one labelled response."""
PAIRS = {
    "simpo": {"sweep": 32, "same": 48, "free": 384, "held_out": 128},
    "kto": {"sweep": 16, "same": 32, "free": 128, "held_out": 64},
}
SAME_MICRO = {"simpo": 4, "kto": 16}
"""TRL takes KTO's z₀ from one forward pass, so the whole batch must be one to compare."""

TRL: dict[str, tuple[dict[str, Any], ...]] = {
    "simpo": (
        {"micro": 1, "grouped": False, "bf16": False, "threads": 2},
        {"micro": 1, "grouped": True, "bf16": False, "threads": 2},
        {"micro": 4, "grouped": True, "bf16": False, "threads": 2},
        {"micro": 1, "grouped": True, "bf16": True, "threads": 2},
    ),
    "kto": (
        {"micro": 2, "grouped": True, "precompute": True, "bf16": False, "threads": 2},
        {"micro": 4, "grouped": True, "precompute": True, "bf16": False, "threads": 2},
        {"micro": 2, "grouped": True, "precompute": True, "bf16": True, "threads": 2},
        {"micro": 4, "grouped": True, "precompute": True, "bf16": True, "threads": 2},
        {"micro": 4, "grouped": True, "precompute": False, "bf16": True, "threads": 2},
    ),
}
OURS: dict[str, tuple[dict[str, Any], ...]] = {
    "simpo": (
        {"micro": 8, "bf16": False, "logits16": False, "threads": 2},
        {"micro": 16, "bf16": True, "logits16": False, "threads": 2},
        {"micro": 8, "bf16": True, "logits16": True, "threads": 2},
        {"micro": 16, "bf16": True, "logits16": True, "threads": 2},
    ),
    "kto": (
        {"micro": 16, "together": False, "bf16": False, "logits16": False, "threads": 2},
        {"micro": 16, "together": True, "bf16": False, "logits16": False, "threads": 2},
        {"micro": 16, "together": True, "bf16": True, "logits16": False, "threads": 2},
        {"micro": 16, "together": True, "bf16": True, "logits16": True, "threads": 2},
    ),
}


def run(
    pairs: Mapping[str, Mapping[str, int]] = PAIRS,
    trl: Mapping[str, Sequence[Mapping[str, Any]]] = TRL,
    ours: Mapping[str, Sequence[Mapping[str, Any]]] = OURS,
    batch: int = BATCH,
) -> dict[str, Any]:
    """Per method: both sweeps, the same batches in the same order, and each arm free at its best settings."""
    return {m: _method(m, pairs[m], {"trl": trl[m], "ours": ours[m]}, batch) for m in TITLES}


def _method(
    method: str, pairs: Mapping[str, int], tried: Mapping[str, Sequence[Mapping[str, Any]]], batch: int
) -> dict[str, Any]:
    plain = {"method": method, "batch": batch, "seed": 0, "order": None, "held_out": 0}
    sweeps = {
        arm: [_tried(arm, {**plain, **s, "pairs": pairs["sweep"]}, s) for s in settings]
        for arm, settings in tried.items()
    }
    best = {arm: max(found, key=lambda t: t["pairs_a_second"])["settings"] for arm, found in sweeps.items()}
    rows = list(range(pairs["same"] * (2 if method == "kto" else 1)))
    random.Random(0).shuffle(rows)
    order = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    micro = min(batch, SAME_MICRO[method])
    wide = {"bf16": False, "logits16": False, "precompute": True}
    fixed = {"pairs": pairs["same"], "order": order, "micro": micro, **wide}
    same = {arm: _arm(arm, {**plain, **best[arm], **fixed})["losses"] for arm in tried}
    free = {
        arm: _arm(arm, {**plain, **best[arm], "pairs": pairs["free"], "held_out": pairs["held_out"]}) for arm in tried
    }
    return {"pairs": dict(pairs), "batch": batch, "sweeps": sweeps, "best": best, "same": same, "free": free}


def _arm(arm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    print(f"  {arm} { {k: v for k, v in settings.items() if k != 'order'} }", flush=True)
    return fresh(f"benchmarks.alignment:{arm}", settings, threads=settings["threads"])


def _tried(arm: str, settings: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    got = _arm(arm, settings)
    return {"settings": dict(shown), **{k: got[k] for k in ("pairs_a_second", "memory_mb")}}


def page(result: Mapping[str, Any]) -> Section:
    """A part a method; the ratios of both."""
    text = """
The model, the pairs and the timing are those of DPO above: a Llama of 5.3 M parameters, hh_rlhf (harmless), 16 items an
update, fused AdamW, float32 where bf16 is not named; texts to last update. KTO reads each pair as two labelled rows,
and its speed counts these; a mismatched row beside each is made, read and timed in both arms.
"""
    ratios: list[Ratio] = []
    for method in TITLES:
        part, bounds = _part(method, result[method])
        text += part
        ratios += bounds
    return Section(text, tuple(ratios))


def _part(method: str, found: Mapping[str, Any]) -> tuple[str, list[Ratio]]:
    title, items, free = TITLES[method], ITEMS[method], found["free"]
    each = 2 if method == "kto" else 1
    names = {"trl": f"TRL {PEERS[method]}", "ours": "guerdon"}
    apart = max(abs(a - b) for a, b in zip(found["same"]["ours"], found["same"]["trl"], strict=True))
    arms = ("trl", "ours")
    rows = [
        [names[a], each * free[a]["pairs_a_second"], *(free[a][k] for k in ("seconds", "memory_mb", "held_out_loss"))]
        for a in arms
    ]
    more = (
        "Its first loss is ½ for any arm, since the policy starts at the reference, so all updates are compared, with "
        "TRL's mismatched rows in both arms. In TRL, z₀ comes from the rows of one forward pass; here from the whole "
        "batch. Held-out loss: at z₀ = 0."
        if method == "kto"
        else "TRL's tokenizer has no beginning-of-sequence token here, which this trainer alone would add."
    )
    text = f"""
**{title}**, {each * found["pairs"]["free"]} {items}, each arm at the fastest of its settings below.

{table(("arm", f"{items} a second", "seconds", "peak MB", "held-out loss"), rows)}

The same batches in the same order, {each * found["pairs"]["same"]} {items}: the losses of all updates differ by at most
{apart:.1e} ({", ".join(f"{x:.4f}" for x in found["same"]["ours"])}). {more}

{_sweep(found, "trl", "TRL", each, items)}

{_sweep(found, "ours", "guerdon", each, items)}
"""
    fast = free["ours"]["pairs_a_second"] / free["trl"]["pairs_a_second"]
    return text, [
        Ratio(f"{title}: {items} a second, guerdon / TRL", fast, 3.0),
        Ratio(f"{title}: same batches, largest difference of losses", apart, 1e-3, False),
    ]


def _sweep(found: Mapping[str, Any], arm: str, name: str, each: int, items: str) -> str:
    tried, best = found["sweeps"][arm], found["best"][arm]
    keys = list(tried[0]["settings"])
    rows = [
        [
            name + (" (taken)" if t["settings"] == best else ""),
            *(str(t["settings"][k]) for k in keys),
            each * t["pairs_a_second"],
            t["memory_mb"],
        ]
        for t in tried
    ]
    return table((f"{each * found['pairs']['sweep']} {items}", *keys, f"{items} a second", "peak MB"), rows)
