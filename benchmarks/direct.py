"""What an update costs under every offline objective, relative to DPO on the same pairs."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks import alignment, arms, models
from benchmarks.page import Ratio, Section, table

TITLE = "Cost of every objective"

PAIRS, BATCH, EPOCHS, REPEATS = 16, 8, 2, 3


def run() -> dict[str, Any]:
    """Cost of an epoch of updates of every preset, each between two runs of DPO."""
    return arms.fresh("benchmarks.direct:costs", {"pairs": PAIRS, "repeats": REPEATS}, threads=2)


def costs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{'cost': preset -> its seconds over the mean of the DPO runs before and after it, median of the repeats, 'dpo':
    least seconds of ``EPOCHS`` epochs of DPO, 'about': preset -> what it reads}.

    A machine that is slower for a while is so for both; DPO's own cost shows what noise is left.

    The reference's log-probs are read before the clock starts; a policy that guides is a copy of the start.
    """
    from guerdon.training import methods

    presets = [p for p in methods.presets() if not p.online]
    about = {p.name: _about(p) for p in presets}
    found: dict[str, list[float]] = {p.name: [] for p in presets}
    _epochs(methods.find("dpo"), settings["pairs"])  # the first run of a process compiles kernels
    base = [_epochs(methods.find("dpo"), settings["pairs"])]
    for _ in range(settings["repeats"]):
        for preset in presets:
            took = _epochs(preset, settings["pairs"])
            base.append(_epochs(methods.find("dpo"), settings["pairs"]))
            found[preset.name].append(2 * took / (base[-1] + base[-2]))
    return {"cost": {name: median(costs) for name, costs in found.items()}, "dpo": min(base), "about": about}


def _about(preset: Any) -> dict[str, Any]:
    """What a preset reads, and whether policy log-probs of the two rows of the given pairs are all that an update
    computes."""
    from guerdon.objectives import Objective
    from guerdon.worlds import Frozen

    made = preset.called(preset.objective, preset.settings({}), 10)
    objective = made if isinstance(made, Objective) else made(0)
    rules = preset.called(preset.rules, preset.settings({}), 10)
    still = all(rule == Frozen() for rule in rules.values())
    given = preset.reads in ("pairs", "scored") and preset.records is None
    plain = given and still and not objective.stats()
    return {"reads": preset.reads, "two": plain, "needs": list(objective.needs)}


def _epochs(preset: Any, pairs: int) -> float:
    import torch

    from guerdon.batch import Preference, Seed
    from guerdon.training import Micro, Optim, run
    from guerdon.verbs.material import items, source_of
    from guerdon.worlds import Frozen, Snapshots
    from guerdon.worlds.text import TextWorld

    torch.manual_seed(0)
    train, _ = alignment.data(pairs, 0)
    records = [
        Preference(r.prompt, r.responses, r.comparisons, scores=(2.0, 1.0))
        for r in (Preference.pair(p["prompt"], p["chosen"], p["rejected"]) for p in train)
    ]
    settings = preset.settings({})
    if preset.records is not None:
        records = list(preset.called(preset.records, settings, 1, records))
    tokenizer, model = models.tokenizer(), models.causal_lm()
    size = max(1, len(items(preset.reads, records)) * BATCH // pairs)
    source = source_of(preset.reads, records, tokenizer, 1024, size, Seed(0), preset.ordered)
    rounds = -(-len(source) // size)
    rules = {"reference": Frozen(), **preset.called(preset.rules, settings, (EPOCHS + 1) * rounds)}
    if "guide" in preset.needs:
        rules["guide"] = Frozen()
    ticks: list[float] = []
    recipe = preset.recipe(
        TextWorld(model, tokenizer, rendering="raw"),
        Snapshots(model, **rules),
        source,
        (EPOCHS + 1) * rounds,
        optim=Optim(lr=1e-5),
        seed=Seed(0),
        micro=Micro(rows=2 * BATCH),
    )
    run(recipe, on_metrics=lambda _: ticks.append(time.perf_counter()))
    return ticks[-1] - ticks[rounds - 1]


def page(result: Mapping[str, Any]) -> Section:
    """A row a preset, in order of cost, and the bound on those that compute no more than DPO."""
    cost, about = result["cost"], result["about"]
    rows = [
        [name, times, about[name]["reads"], "yes" if about[name]["two"] else "no"]
        for name, times in sorted(cost.items(), key=lambda kv: kv[1])
    ]
    text = f"""
Seconds of an epoch of updates (the Llama of 5.3 M parameters, {PAIRS} pairs of hh_rlhf, {BATCH} at once, float32, 2
threads) relative to the DPO runs before and after ({result["dpo"] / EPOCHS:.2f} s an epoch at least), the median of
{REPEATS}; the reference's log-probs are read before. DPO's own line shows what noise is left. Methods that read lists,
rewritings or labelled rows, or make further pairs, read other rows than the given pairs' two, which is their cost.

{table(("method", "cost, DPO = 1", "reads", "two rows a pair, nothing else"), rows)}
"""
    plain = {name: times for name, times in cost.items() if about[name]["two"]}
    worst = max(plain, key=plain.__getitem__)
    return Section(
        text, (Ratio(f"dearest of those that read a pair's two rows alone ({worst})", plain[worst], 1.1, False),)
    )
