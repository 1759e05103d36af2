"""Exact solvers of many MDPs at once, beside NumPy loops over one MDP at a time."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import segments
from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table

TITLE = "Tabular worlds and segment preferences"
SIZES = [
    {"count": 500, "states": 10, "actions": 4, "bound": 1.5},
    {"count": 250, "states": 20, "actions": 4, "bound": 1.0},
    {"count": 20, "states": 100, "actions": 5, "bound": None},
]
"""bound: what the ratio must keep; None where the batch is not the point, because each MDP is a good matrix product by
itself."""
DISCOUNT, TEMPERATURE, TOLERANCE = 0.95, 0.5, 1e-10
FORMS = ("one product an action", "one product a backup")
"""How the peer backs values up: P[a] @ V for every action, as pymdptoolbox does, or [S·A,S] @ V."""
TASKS = ("value iteration", "soft value iteration", "policy iteration", "policy evaluation", "occupancy")

Array = np.ndarray[Any, Any]
Backup = Callable[[Array], Array]


def problem(settings: Mapping[str, Any]) -> Any:
    """(random MDPs, one random policy [N,S,A] each)."""
    import torch

    from guerdon.batch import Seed
    from guerdon.worlds.tabular import random_mdps

    mdps = random_mdps(Seed(0), settings["count"], settings["states"], settings["actions"], DISCOUNT)
    drawn = torch.rand(mdps.expected_reward.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return mdps, drawn / drawn.sum(-1, keepdim=True)


def ours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every task on the whole batch at once: seconds, and the numbers found."""
    from guerdon.worlds.tabular import evaluate, occupancy, policy_iteration, value_iteration

    mdps, policies = problem(settings)
    calls = {
        "value iteration": lambda: value_iteration(mdps, tolerance=TOLERANCE).value,
        "soft value iteration": lambda: value_iteration(mdps, TEMPERATURE, TOLERANCE).value,
        "policy iteration": lambda: policy_iteration(mdps).value,
        "policy evaluation": lambda: evaluate(mdps, policies),
        "occupancy": lambda: occupancy(mdps, policies),
    }
    return {name: _timed(lambda c=call: c().numpy(), settings["repeats"]) for name, call in calls.items()}


def peer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same tasks, one MDP after another, in NumPy as users write it."""
    mdps, policies = problem(settings)
    transition, reward = np.ascontiguousarray(mdps.transition.numpy()), mdps.expected_reward.numpy()
    policy, start = policies.numpy(), mdps.initial.numpy()
    backups = [_backup(settings["form"], p, r) for p, r in zip(transition, reward, strict=True)]
    each, states = range(len(reward)), settings["states"]
    calls = {
        "value iteration": lambda: [iterate(b, states, _largest) for b in backups],
        "soft value iteration": lambda: [iterate(b, states, _soft) for b in backups],
        "policy iteration": lambda: [improve(b, transition[i], reward[i]) for i, b in enumerate(backups)],
        "policy evaluation": lambda: [evaluation(transition[i], reward[i], policy[i]) for i in each],
        "occupancy": lambda: [visits(transition[i], policy[i], start[i]) for i in each],
    }
    return {name: _timed(lambda c=call: np.stack(c()), settings["repeats"]) for name, call in calls.items()}


def _backup(form: str, transition: Array, reward: Array) -> Backup:
    """V [S] -> Q [S,A]."""
    states, actions = reward.shape
    if form == FORMS[0]:
        by_action = [np.ascontiguousarray(transition[:, a]) for a in range(actions)]
        paid = [np.ascontiguousarray(reward[:, a]) for a in range(actions)]
        return lambda value: np.stack([paid[a] + DISCOUNT * by_action[a].dot(value) for a in range(actions)], 1)
    flat = transition.reshape(states * actions, states)
    return lambda value: reward + DISCOUNT * (flat @ value).reshape(states, actions)


def iterate(backup: Backup, states: int, best: Callable[[Array], Array]) -> Array:
    """V [S] from 0 until it lies within TOLERANCE of the fixed point by the contraction's bound."""
    value = np.zeros(states)
    while True:
        new = best(backup(value))
        change, value = np.abs(new - value).max(), new
        if DISCOUNT / (1 - DISCOUNT) * change <= TOLERANCE:
            return value


def _largest(q: Array) -> Array:
    return q.max(1)


def _soft(q: Array) -> Array:
    top = q.max(1)
    return top + TEMPERATURE * np.log(np.exp((q - top[:, None]) / TEMPERATURE).sum(1))


def evaluation(transition: Array, reward: Array, policy: Array) -> Array:
    """V^pi [S]."""
    moves = np.einsum("sa,sat->st", policy, transition)
    return np.linalg.solve(np.eye(len(moves)) - DISCOUNT * moves, (policy * reward).sum(1))


def improve(backup: Backup, transition: Array, reward: Array) -> Array:
    """V* [S] by evaluating the greedy policy until it stays."""
    actions = reward.shape[1]
    chosen = reward.argmax(1)
    while True:
        value = evaluation(transition, reward, np.eye(actions)[chosen])
        better = backup(value).argmax(1)
        if (better == chosen).all():
            return value
        chosen = better


def visits(transition: Array, policy: Array, start: Array) -> Array:
    """Discounted visits [S,A] of every state and action."""
    moves = np.einsum("sa,sat->st", policy, transition)
    return np.linalg.solve(np.eye(len(moves)) - DISCOUNT * moves.T, start)[:, None] * policy


def _timed(call: Callable[[], Array], repeats: int) -> dict[str, Any]:
    seconds, found = float("inf"), np.zeros(0)
    for _ in range(repeats):
        began = time.perf_counter()
        found = call()
        seconds = min(seconds, time.perf_counter() - began)
    return {"seconds": seconds, "values": found.ravel().tolist()}


def run(sizes: Any = SIZES, repeats: int = 2, pairs: int = 512, epochs: int = 3) -> dict[str, Any]:
    """Both sizes, each arm at each of its settings; then the training on segments."""
    solvers = []
    for size in sizes:
        plain = {**size, "repeats": repeats}
        arms = [
            (
                name,
                {"form": form, "threads": threads},
                fresh(f"benchmarks.tabular:{name}", {**plain, "form": form}, threads=threads),
            )
            for name, forms in (("peer", FORMS), ("ours", ("the whole batch",)))
            for form in forms
            for threads in (1, 2)
        ]
        truth = arms[0][2]
        for task in TASKS:
            tried = [
                {
                    "arm": name,
                    **setting,
                    "seconds": found[task]["seconds"],
                    "difference": _apart(truth[task], found[task]),
                }
                for name, setting, found in arms
            ]
            solvers.append({**size, "task": task, "tried": tried})
    return {"solvers": solvers, "segments": segments.run(pairs, epochs)}


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    return float(np.abs(np.asarray(a["values"]) - np.asarray(b["values"])).max())


def page(result: Mapping[str, Any]) -> Section:
    """Every task at every size, what was tried, then segments."""
    rows, ratios, worst = [], [], 0.0
    for x in result["solvers"]:
        best = {
            arm: min((t for t in x["tried"] if t["arm"] == arm), key=lambda t: t["seconds"]) for arm in ("peer", "ours")
        }
        size = f"{x['count']} × {x['states']} states × {x['actions']} actions"
        ratio = best["peer"]["seconds"] / best["ours"]["seconds"]
        far = max(t["difference"] for t in x["tried"])
        rows.append([x["task"], size, best["peer"]["seconds"], best["ours"]["seconds"], ratio, far])
        if x["bound"] is not None:
            ratios.append(Ratio(f"{x['task']}, {size}: peer's time over ours", ratio, x["bound"]))
        worst = max(worst, far)
    tried = [
        [x["task"], x["count"], t["arm"], t["form"], t["threads"], t["seconds"]]
        for x in result["solvers"]
        for t in x["tried"]
    ]
    part = segments.page(result["segments"])
    text = f"""
Random MDPs in float64, discount {DISCOUNT}. Ours solves many in one call of `guerdon.worlds.tabular`. The peer is NumPy
code of this benchmark, written as users write it, one MDP after another: values by repeated backups (a product an
action, as pymdptoolbox has it, or one product for all actions) to the same bound of {TOLERANCE:g}; policy iteration,
evaluation and occupancy by `numpy.linalg.solve`. Soft values have temperature {TEMPERATURE}. Batches pay for many small
MDPs; of large ones each is a good matrix product by itself, and the last size is shown to say so.

{table(("task", "MDPs", "peer, s", "ours, s", "ratio", "largest difference"), rows)}

What was tried; the fastest of each arm stands above:

{table(("task", "MDPs", "arm", "form", "threads", "seconds"), tried)}

{part.text}
"""
    ratios.append(Ratio("largest difference of a value", worst, 1e-8, at_least=False))
    return Section(text, [*ratios, *part.ratios])
