"""Metrics of a run as curves: which are shown under which heading, how each is read, and what its trend is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.audit.overoptimisation import smooth
from guerdon.audit.trends import Trend, trend

History = Sequence[Mapping[str, Any]]

SMOOTHED_FROM = 15
"""Rounds from which a curve is drawn smoothed, with the raw values behind it."""


@dataclass(frozen=True)
class Shown:
    """A metric and how to read it. A name that ends in '/' stands for all metrics below it."""

    name: str
    caption: str


GROUPS: Mapping[str, Sequence[Shown]] = {
    "What it is trained to raise": (
        Shown("reward", "The reward trained on, a mean over the samples of a round."),
        Shown("gold", "The reward that was meant; where it turns down, training hurts."),
        Shown("proxy", "The learned reward."),
        Shown("rewards/accuracies", "Share of pairs whose chosen side has the higher implicit reward."),
        Shown("rewards/margins", "Implicit reward of the chosen minus the rejected side."),
        Shown("reward_std", "Spread of rewards among samples of one prompt; at zero there is nothing to learn from."),
        Shown("frac_reward_zero_std", "Share of prompts whose samples all get the same reward: they teach nothing."),
    ),
    "On held-out starts": (Shown("eval/", "Measured between rounds on starts that are not trained on."),),
    "Distance from the start": (
        Shown("objective/kl", "Distance from the starting policy in nats a row."),
        Shown("kl", "Distance from the starting policy in nats a step."),
        Shown("entropy", "Uncertainty a step; towards zero the policy does one thing only."),
        Shown("logps/chosen", "Log-probability of chosen responses; that it falls is common in DPO, worth knowing."),
        Shown("logps/rejected", "Log-probability of rejected responses."),
        Shown("log_ratios/chosen", "Log-probability of chosen responses minus the reference's."),
        Shown("log_ratios/rejected", "Log-probability of rejected responses minus the reference's."),
    ),
    "Length": (
        Shown("completions/mean_length", "Length of the samples in tokens; growth without reason is an exploit."),
        Shown("completions/clipped_ratio", "Share of samples cut off at the limit."),
    ),
    "The optimiser": (
        Shown("loss", "The objective; its scale differs from method to method."),
        Shown("loss/", "One term of the objective."),
        Shown("grad_norm", "Length of the gradient before it is cut; spikes shake the policy."),
        Shown("clip_ratio", "Share of steps whose ratio is clipped: towards one, an update goes too far."),
        Shown("approx_kl", "How far one round's updates move the policy, in nats a step."),
        Shown("learning_rate", "Step size."),
    ),
}
"""Heading -> metrics, in the order shown."""

CLOCKS = ("round", "step", "epoch")
"""Not measurements: what the others are drawn against."""


def points(history: History, name: str) -> tuple[list[float], list[float]]:
    """(rounds, values) of a metric where it was measured and finite."""
    x: list[float] = []
    y: list[float] = []
    for i, record in enumerate(history):
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            x.append(float(record.get("round", i + 1)))
            y.append(float(value))
    return x, y


def names(history: History) -> list[str]:
    """All metrics measured, in order of appearance."""
    return [n for n in dict.fromkeys(k for record in history for k in record) if n not in CLOCKS]


def grouped(found: Sequence[str]) -> dict[str, list[Shown]]:
    """Heading -> the metrics of ``found`` shown there; headings without one are left out."""
    out: dict[str, list[Shown]] = {}
    for title, members in GROUPS.items():
        kept = []
        for m in members:
            matching = [n for n in found if n == m.name or (m.name.endswith("/") and n.startswith(m.name))]
            kept += [Shown(n, m.caption) for n in matching]
        if kept:
            out[title] = kept
    return out


def channels(found: Sequence[str]) -> list[str]:
    """Names of the reward's channels, from 'rewards/<channel>/mean'."""
    return [n[len("rewards/") : -len("/mean")] for n in found if n.startswith("rewards/") and n.endswith("/mean")]


def of(history: History, name: str) -> Trend | None:
    """The trend of a metric; None where it was never measured."""
    return trend(points(history, name)[1])


def smoothed(values: Sequence[float]) -> list[float] | None:
    """A centred moving average over a tenth of the rounds (three at least); None for a short curve
    or one that never changes."""
    if len(values) < SMOOTHED_FROM or len(set(values)) == 1:
        return None
    return [float(v) for v in smooth(list(values), max(3, len(values) // 10 | 1))]
