"""What an update costs under every offline objective, relative to DPO on the same pairs."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from benchmarks import alignment, arms, models
from benchmarks.page import Ratio, Section, table

TITLE = "Cost of every objective"

PAIRS, UPDATES = 8, 8


def run() -> dict[str, Any]:
    """{'methods': preset -> what ``beside_dpo`` measured, in a process of its own}."""
    from guerdon.training import methods

    found = {}
    for preset in (p for p in methods.presets() if not p.online):
        found[preset.name] = arms.fresh("benchmarks.direct:beside_dpo", {"preset": preset.name}, threads=1)
        print(f"  {preset.name}: {found[preset.name]['cost']:.3f}", flush=True)
    return {"methods": found}


def beside_dpo(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{'cost': the median of an update's seconds over the mean of the DPO updates before and after it, 'dpo': least
    seconds of an update of DPO, 'reads' and 'two': see ``_about``}.

    Whole runs differ by a tenth and more on a machine that others use; what slows it lasts longer than two updates.
    """
    from guerdon.training import methods

    preset = methods.find(settings["preset"])
    # The first updates compile kernels, and the last of DPO's ends the last measured pair.
    base, took = in_turns(_run_of(methods.find("dpo"), UPDATES + 2), _run_of(preset, UPDATES + 2))
    around = [(before + after) / 2 for before, after in itertools.pairwise(base[1:])]
    cost = median(own / dpo for own, dpo in zip(took[1:], around, strict=False))
    return {"cost": cost, "dpo": min(base), **_about(preset)}


Ticking = Callable[[Callable[[object], None]], object]
"""A run that calls what it is given after each of its updates."""


def in_turns(first: Ticking, second: Ticking) -> list[list[float]]:
    """Seconds of every update of two runs that take turns, update by update."""
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    took: list[list[float]] = [[], []]

    def go(own: int) -> None:
        began = 0.0

        def wait() -> None:
            nonlocal began
            turns[own].acquire()
            began = time.perf_counter()

        def tick(_: object) -> None:
            took[own].append(time.perf_counter() - began)
            turns[1 - own].release()
            wait()

        try:
            wait()
            (first, second)[own](tick)
        finally:  # who has ended, well or not, needs no more turns
            turns[1 - own].release(1_000_000)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(go, own) for own in (0, 1)]:
            done.result()
    return took


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
    return {"reads": preset.reads, "two": plain}


def _run_of(preset: Any, updates: int) -> Ticking:
    """A run of a preset over all pairs in every update. The first update also reads the reference's log-probs; a policy
    that guides is a copy of the start."""
    import torch

    from guerdon.batch import Preference, Seed
    from guerdon.training import Micro, Optim, run
    from guerdon.verbs.material import items, source_of
    from guerdon.worlds import Frozen, Snapshots
    from guerdon.worlds.text import TextWorld

    torch.manual_seed(0)
    train, _ = alignment.data(PAIRS, 0)
    records = [
        Preference(r.prompt, r.responses, r.comparisons, scores=(2.0, 1.0))
        for r in (Preference.pair(p["prompt"], p["chosen"], p["rejected"]) for p in train)
    ]
    settings = preset.settings({})
    if preset.records is not None:
        records = list(preset.called(preset.records, settings, 1, records))
    tokenizer, model = models.tokenizer(), models.causal_lm()
    all_of_them = len(items(preset.reads, records))
    source = source_of(preset.reads, records, tokenizer, 1024, all_of_them, Seed(0), preset.ordered)
    rules = {"reference": Frozen(), **preset.called(preset.rules, settings, updates)}
    if "guide" in preset.needs:
        rules["guide"] = Frozen()
    recipe = preset.recipe(
        TextWorld(model, tokenizer, rendering="raw"),
        Snapshots(model, **rules),
        source,
        updates,
        optim=Optim(lr=1e-5),
        seed=Seed(0),
        micro=Micro(rows=2 * PAIRS),
    )
    return lambda tick: run(recipe, on_metrics=tick)


def page(result: Mapping[str, Any]) -> Section:
    """A row a preset, in order of cost, and the bound on those that compute no more than DPO."""
    found = result["methods"]
    least = min(got["dpo"] for got in found.values())
    rows = [
        [name, got["cost"], got["reads"], "yes" if got["two"] else "no"]
        for name, got in sorted(found.items(), key=lambda item: item[1]["cost"])
    ]
    text = f"""
Seconds of an update (the Llama of 5.3 M parameters, {PAIRS} pairs of hh_rlhf, float32, one thread) relative to the DPO
updates before and after it ({least:.2f} s at least): the median of {UPDATES} updates of a run that takes turns with a
run of DPO, so that a machine that is slower for a while is so for both. DPO's own line shows what noise is left. The
reference's log-probs are read before. Methods that read lists, rewritings or labelled rows, or make further pairs, read
other rows than the given pairs' two, which is their cost.

{table(("method", "cost, DPO = 1", "reads", "two rows a pair, nothing else"), rows)}
"""
    plain = {name: got["cost"] for name, got in found.items() if got["two"]}
    worst = max(plain, key=plain.__getitem__)
    return Section(
        text, (Ratio(f"dearest of those that read a pair's two rows alone ({worst})", plain[worst], 1.1, False),)
    )
