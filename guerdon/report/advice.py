"""What a training run's metrics say in words: what went well, what looks like an exploit, what to do next.

Rules of thumb on trends, each stated where it fires; they point at what to look at and prove nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guerdon.audit.trends import Trend, trend
from guerdon.report import curves
from guerdon.report.curves import History
from guerdon.report.page import Headline

FEW = 8
"""Rounds below which no trend is read."""

RISING = "It was still rising at the end: more rounds may give more."
HARDLY = 0.02
"""Share of a reward below which its change is called none."""


@dataclass(frozen=True)
class Sign:
    """One sign of over-optimisation. measured: its name in words. start, end: of the run; None where it was not
    measured. bad: whether it fires. look: what to look at then."""

    measured: str
    start: float | None
    end: float | None
    bad: bool
    look: str


Rule = tuple[tuple[str, ...], str, Callable[[Trend], bool], str]

LENGTH, CUT_OFF = "completions/mean_length", "completions/clipped_ratio"
LONGER, NARROWER, SURER, FURTHER = 1.5, 0.5, 0.2, 1.5

RULES: tuple[Rule, ...] = (
    (
        ("gold", "eval/gold"),
        "gold reward",
        lambda t: t.fell,
        "the reward that was meant falls: stop earlier or stay closer",
    ),
    (
        ("eval/reward", "eval/return"),
        "reward on held-out starts",
        lambda t: t.fell,
        "what is learned does not carry over: stop earlier",
    ),
    (
        (LENGTH,),
        "length of samples",
        lambda t: t.rose and t.end > LONGER * t.start,
        "samples grew much longer: read some, and take length out of the reward",
    ),
    (
        (CUT_OFF,),
        "share of responses cut off",
        lambda t: t.rose and t.end > 0.5,
        "most samples run into the limit: raise it, or stop rewarding length",
    ),
    (
        ("eval/distinct",),
        "different answers on held-out starts",
        lambda t: t.fell and t.end < NARROWER * t.start,
        "answers become alike: raise the KL penalty or the entropy",
    ),
    (
        ("entropy",),
        "entropy a step",
        lambda t: t.fell and t.end < SURER * t.start,
        "the policy is nearly certain of everything: raise the KL penalty, or stop earlier",
    ),
)


def signs(history: History) -> list[Sign]:
    """The hack watch: every sign, measured or not. A sign counts only where the reward trained on did not fall."""
    reward = curves.of(history, "reward")
    counts = reward is None or not reward.fell
    out = []
    for names, words, fires, look in RULES:
        t = next((found for name in names if (found := curves.of(history, name)) is not None), None)
        if names[0] == CUT_OFF and curves.of(history, LENGTH) is None:
            t = None  # an episode that reaches its limit may be a good one; a response that does was cut off
        if t is None:
            out.append(Sign(words, None, None, False, look))
        else:
            out.append(Sign(words, t.start, t.end, counts and t.rounds >= FEW and fires(t), look))
    return out


def advise(history: History, summary: Mapping[str, Any], run: Mapping[str, Any]) -> Headline:
    """Good, wrong and to do of a run, from its metrics, its before and after, and its record."""
    good: list[str] = []
    wrong: list[str] = []
    todo: list[str] = []
    _progress(history, good, wrong, todo)
    _measured(summary, good, wrong)
    _exploits(history, good, wrong, todo)
    _optimiser(history, wrong, todo)
    _signal(history, wrong, todo)
    if run.get("status", "finished") != "finished":
        todo.append("The run is not finished: the same command goes on from its last checkpoint.")
    if run.get("stopped"):
        wrong.append(f"It ended before its last round, stopped by {run['stopped']!r}.")
    if wrong and RISING in todo:
        todo.remove(RISING)  # not before what is wrong is mended
    if good and not wrong and not todo:
        todo.append("Nothing stands out: read the samples, then repeat with other seeds before believing the gain.")
    return Headline(good, wrong, todo)


def _progress(history: History, good: list[str], wrong: list[str], todo: list[str]) -> None:
    found = [(n, t) for n in ("reward", "rewards/accuracies") if (t := curves.of(history, n)) is not None]
    if not found:
        return
    name, t = found[0]
    called = "The reward trained on" if name == "reward" else "The share of pairs ordered rightly"
    moved = f"from {t.start:.3g} to {t.end:.3g} over {t.rounds} rounds"
    if t.rounds < FEW:
        todo.append(f"{t.rounds} rounds are too few to see a trend; run longer.")
    elif t.rose:
        good.append(f"{called} rose {moved}.")
        values = curves.points(history, name)[1]
        late = trend(values[len(values) // 2 :], 0.34)
        if late is not None and late.rounds >= FEW and late.rose:
            todo.append(RISING)
    elif t.fell:
        wrong.append(f"{called} fell {moved}.")
        todo.append("Lower the learning rate, and check the reward's sign with a few samples.")
    elif name == "reward" or t.end < 0.99:
        wrong.append(f"{called} did not move beyond its noise ({moved}).")
        todo.append("Raise the learning rate or the number of samples a round, or check that the reward varies.")


def _measured(summary: Mapping[str, Any], good: list[str], wrong: list[str]) -> None:
    before, after = summary.get("before") or {}, summary.get("after") or {}
    start, end = before.get("reward"), after.get("reward")
    if isinstance(start, int | float) and isinstance(end, int | float):
        still = abs(end - start) <= HARDLY * max(abs(start), abs(end))
        how = "hardly moved: from" if still else "went from"
        said = f"Measured before and after with the same seeds, its reward {how} {start:.3f} to {end:.3f}."
        (wrong if still or end < start else good).append(said)
    key = "different responses (share)"
    if key in after and after[key] < 0.5 * before.get(key, 0.0):
        wrong.append(f"Different responses fell from {100 * before[key]:.0f} % to {100 * after[key]:.0f} %.")


def _exploits(history: History, good: list[str], wrong: list[str], todo: list[str]) -> None:
    seen = [s for s in signs(history) if s.end is not None]
    fired = [s for s in seen if s.bad]
    for sign in fired:
        wrong.append(f"Hack watch: {sign.measured} went from {sign.start:.3g} to {sign.end:.3g}.")
        todo.append(f"{sign.look[0].upper()}{sign.look[1:]}.")
    if seen and not fired and len(history) >= FEW:
        good.append(f"Hack watch: of the {len(seen)} signs of an exploited reward that were measured, none fires.")
    kl, reward = curves.points(history, "objective/kl")[1], curves.points(history, "reward")[1]
    if len(kl) >= 2 * FEW and len(reward) == len(kl):
        half = len(kl) // 2
        far, gain = trend(kl[half:]), trend(reward[half:])
        if far is not None and gain is not None and far.rose and far.end > FURTHER * far.start and not gain.rose:
            wrong.append(f"In its second half KL grew from {far.start:.3g} to {far.end:.3g} and the reward no more.")
            todo.append("Stop at half the rounds, or raise the KL penalty.")


def _optimiser(history: History, wrong: list[str], todo: list[str]) -> None:
    broken = sorted({k for m in history for k, v in m.items() if v is None})
    if broken:
        wrong.append(f"Not finite in some rounds: {', '.join(broken[:5])}.")
        todo.append("Lower the learning rate, and look at the rows of the first such round.")
    clip, norm = curves.of(history, "clip_ratio"), curves.points(history, "grad_norm")[1]
    if clip is not None and clip.end > 0.3:
        wrong.append(f"{100 * clip.end:.0f} % of the steps are clipped: one round's updates go too far.")
        todo.append("Lower the learning rate or take fewer epochs over a round's samples.")
    if norm and max(norm) == 0.0:
        wrong.append("The gradient is zero in every round: nothing is learned.")
    elif len(norm) >= FEW and max(norm) > 20 * sorted(norm)[len(norm) // 2] > 0:
        wrong.append(f"The gradient's length has a spike of {max(norm):.3g}, over 20 times its median.")
        todo.append("Cut the gradient's length lower, or warm the learning rate up for longer.")


def _signal(history: History, wrong: list[str], todo: list[str]) -> None:
    equal, failed = curves.of(history, "frac_reward_zero_std"), curves.points(history, "frac_reward_failed")[1]
    if equal is not None and equal.end > 0.8:
        wrong.append(f"For {100 * equal.end:.0f} % of the prompts all samples get the same reward.")
        todo.append("Take prompts that are neither always solved nor never, or more samples a prompt.")
    if failed and max(failed) > 0:
        wrong.append(f"The reward failed on up to {100 * max(failed):.1f} % of a round's rows, which were left out.")
