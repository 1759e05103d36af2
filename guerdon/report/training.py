"""The sections on a training run, whatever it trains: before and after, the hack watch, and every metric as a curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.report import advice, curves, plots
from guerdon.report.curves import History, Shown
from guerdon.report.displacement import pair_likelihoods
from guerdon.report.page import (
    Markup,
    Section,
    cards,
    figure,
    figures,
    folded,
    heading,
    how_to_read,
    interval,
    join,
    side_by_side,
    table,
)
from guerdon.report.rankings import rankings_part


def training_section(
    history: History, summary: Mapping[str, Any], run: Mapping[str, Any], title: str = "Training"
) -> Section:
    """What training did: numbers to see first, before and after, the hack watch, curves."""
    parts: list[Markup] = [_first(history), before_and_after(summary), rankings_part(summary)]
    parts += [pair_likelihoods(history, run), heading("Hack watch"), hack_watch(history), heading("Curves")]
    parts.append(
        how_to_read(
            f"From {curves.SMOOTHED_FROM} rounds on the thick line is a centred average over a tenth of the rounds; "
            "the thin line is every round as it came."
        )
    )
    parts += _curves(history)
    return Section(title, join(parts), str(summary.get("finding", "")), advice.advise(history, summary, run))


def samples_section(samples: Sequence[Mapping[str, Any]]) -> Section:
    """Responses side by side, as they came."""
    body = join(side_by_side(s["prompt"], [(c["name"], c["text"]) for c in s["columns"]]) for s in samples)
    read = how_to_read(
        "Drawn with one seed on held-out prompts where there are any, not chosen; read them before believing a curve."
    )
    return Section("Samples side by side", join([read, body]))


def _first(history: History) -> Markup:
    """The few numbers to see first, where they were measured."""
    shown: dict[str, object] = {"rounds": len(history)}
    for name, words in (
        ("reward", "reward at the end"),
        ("eval/reward", "reward on held-out starts"),
        ("rewards/accuracies", "pairs ordered rightly"),
        ("objective/kl", "KL to the start (nats a row)"),
        ("entropy", "entropy a step"),
        ("completions/mean_length", "length of samples"),
    ):
        t = curves.of(history, name)
        if t is not None:
            shown[words] = f"{t.end:.3g}"
    return cards(shown)


def value(found: object) -> object:
    """A stored number, or 'estimate [low, high]' of a stored interval."""
    if isinstance(found, Mapping) and "estimate" in found:
        return f"{found['estimate']:.3f} {interval(found.get('low'), found.get('high'))}"
    return found


def before_and_after(summary: Mapping[str, Any]) -> Markup:
    """The table of everything measured before and after; nothing where there is none."""
    before, after = summary.get("before") or {}, summary.get("after") or {}
    if not after:
        return Markup("")
    rows = [(k, value(before.get(k)), value(v)) for k, v in after.items()]
    how = str(summary.get("measured", "Measured with the same seeds before and after."))
    return join([heading("Before and after"), table(("", "before", "after"), rows), how_to_read(how)])


def hack_watch(history: History) -> Markup:
    """Every sign of an exploited reward: where it began, where it ended, and whether it fires."""
    seen = advice.signs(history)
    rows = [(s.measured, s.start, s.end, s.look if s.bad else "fine") for s in seen if s.end is not None]
    absent = [s.measured for s in seen if s.end is None]
    parts = [table(("sign", "start", "end", "what it says"), rows)] if rows else []
    said = "Means of the first and the last tenth of the rounds; a sign fires only beyond its noise."
    if len(history) < advice.FEW:
        said += f" Fewer than {advice.FEW} rounds: none can fire."
    if absent:
        said += f" Not measured: {', '.join(absent)}."
    return join([*parts, how_to_read(said)])


def line(history: History, name: str) -> plots.Line | None:
    """A metric as a curve, smoothed where it is long; None for fewer than two points."""
    x, y = curves.points(history, name)
    if len(x) < 2:
        return None
    smooth = curves.smoothed(y)
    return plots.Line(x, y) if smooth is None else plots.Line(x, smooth, raw=y)


def _curves(history: History) -> list[Markup]:
    found = curves.names(history)
    groups = curves.grouped(found)
    parts: list[Markup] = []
    several = channels_figure(history, found)
    used = {m.name for members in groups.values() for m in members}
    used |= {f"rewards/{c}/mean" for c in curves.channels(found)}
    for title, members in groups.items():
        pictures = [p for m in members if (p := _picture(history, m)) is not None]
        if title == "What it is trained to raise" and several is not None:
            pictures.append(several)
        if pictures:
            parts += [heading(title), figures(*pictures)]
    rest = [p for n in found if n not in used and (p := _picture(history, Shown(n, ""))) is not None]
    if rest:
        parts.append(folded(f"{len(rest)} more metrics", figures(*rest)))
    still = {n: curves.points(history, n)[1][0] for n in found if len(history) > 1 and _still(history, n)}
    if still:
        parts.append(how_to_read("Never changed: " + ", ".join(f"{n} {v:.4g}" for n, v in still.items()) + "."))
    return parts or [how_to_read("There are fewer than two rounds, so there is no curve yet.")]


def _still(history: History, name: str) -> bool:
    return len(set(curves.points(history, name)[1])) == 1


def _picture(history: History, shown: Shown) -> Markup | None:
    one = None if _still(history, shown.name) else line(history, shown.name)
    return None if one is None else figure(plots.lines({shown.name: one}, "round", shown.name), shown.caption)


def channels_figure(history: History, found: Sequence[str]) -> Markup | None:
    """Means of all channels in one plot; None where there is one channel, which the reward itself shows."""
    kept = {c: one for c in curves.channels(found) if (one := line(history, f"rewards/{c}/mean")) is not None}
    if len(kept) < 2:
        return None
    drawn = join([plots.legend(list(kept)), plots.lines(kept, "round", "mean of the channel", key=False)])
    return figure(drawn, "Each channel of the reward: one that rises while another falls is a trade.")
