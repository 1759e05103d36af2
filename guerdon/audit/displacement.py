"""Where the likelihood of both sides of pairs went in a run, in words: likelihood displacement (Yang et al. 2025,
2502.07599; Razin et al. 2024, 2410.08847) and the 3D-properties of DPO (Yan et al. 2024, 2406.07327)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guerdon.audit.trends import Trend, trend
from guerdon.errors import GuerdonError

FEW = 8
"""Rounds below which nothing is said."""
DRASTIC = math.log(10)
"""Nats of fall from which the rejected side's is called drastic: a tenth of the probability is left."""


@dataclass(frozen=True)
class Finding:
    """name: as the field calls it. holds: whether its conditions hold in this run. sentence: what was seen and why it
    happens. todo: what to do about it, '' for nothing."""

    name: str
    holds: bool
    sentence: str
    todo: str = ""


@dataclass(frozen=True)
class Displacement:
    """chosen, rejected, margin (their difference, round by round): trends in nats a response. findings: every named
    one, whether it holds or not."""

    chosen: Trend
    rejected: Trend
    margin: Trend
    findings: tuple[Finding, ...]

    @property
    def pattern(self) -> str:
        """Which way both sides went: 'apart', 'both fall', 'both rise', 'crossed', 'rejected falls', 'chosen rises' or
        'still'."""
        return _pattern(self.chosen, self.rejected)

    def holding(self) -> list[Finding]:
        """The findings whose conditions hold."""
        return [f for f in self.findings if f.holds]


def displacement(
    chosen: Sequence[float], rejected: Sequence[float], difference_only: bool | None = None
) -> Displacement:
    """What became of both sides' mean log-probabilities over a run.

    chosen, rejected: one value a round, Σ_t log π of that round's responses, or better the same minus the reference's,
    because rounds of long and short responses then differ less. difference_only: whether the objective sees nothing
    but the difference of both sides (``pair_gradients.difference_only``), None where that is not known. Below 8 rounds
    no condition holds. Raises GuerdonError where the curves are empty or of unequal length.
    """
    if len(chosen) != len(rejected) or not len(chosen):
        raise GuerdonError(
            f"displacement wants one value a round of both sides, but {len(chosen)} and {len(rejected)} came."
        )
    up, down = _trend(chosen), _trend(rejected)
    apart = [a - b for a, b in zip(chosen, rejected, strict=True)]
    margin = _trend(apart)
    enough = len(chosen) >= FEW
    late = len(chosen) // 2
    findings = (
        _both_fall(up, down, margin, enough, difference_only),
        _drop(up, down, enough),
        _degradation(_trend(chosen[late:], 0.34), _trend(rejected[late:], 0.34), enough and len(chosen) >= 2 * FEW),
        _dispersion(up, down, enough),
        _crossed(up, down, enough),
        _both_rise(up, down, enough),
    )
    return Displacement(up, down, margin, findings)


def _trend(values: Sequence[float], share: float = 0.1) -> Trend:
    found = trend(values, share)
    assert found is not None
    return found


def _pattern(chosen: Trend, rejected: Trend) -> str:
    went = {(True, False): "up", (False, True): "down"}
    both = went.get((chosen.rose, chosen.fell), ""), went.get((rejected.rose, rejected.fell), "")
    names = {
        ("up", "down"): "apart",
        ("down", "down"): "both fall",
        ("up", "up"): "both rise",
        ("down", "up"): "crossed",
        ("", "down"): "rejected falls",
        ("up", ""): "chosen rises",
    }
    return names.get(both, "still")


def _both_fall(chosen: Trend, rejected: Trend, margin: Trend, enough: bool, difference_only: bool | None) -> Finding:
    """Likelihood displacement, and whether it is what the loss asks for: its conditions are a margin that grew, and an
    objective that sees the margin alone."""
    holds = enough and chosen.fell and rejected.fell
    fell = f"chosen by {-chosen.change:.2f}, rejected by {-rejected.change:.2f} nats a response"
    if not margin.rose:
        said = f"Both log-probabilities fall ({fell}) and their difference does not grow: this is no learning of pairs."
        return Finding("both fall", holds, said, "Lower the learning rate, and check the labels.")
    carried = chosen.change / rejected.change if rejected.change else 0.0
    shared = f"{100 * carried:.0f} % of the rejected side's fall reached the chosen side, with which it shares features"
    if difference_only is False:
        why = f"the objective holds the chosen side's level too, yet {shared}"
        todo = "Raise the weight of what holds the chosen side, or lower the learning rate."
    else:
        sees = "the loss sees only" if difference_only else "a pairwise loss may see only"
        why = f"expected here, because {sees} their difference, which grew by {margin.change:.2f} nats, and {shared}"
        todo = (
            "If chosen responses should become likelier, add an SFT term (rpo), weaken the rejected side (dpo-shift), "
            "or draw pairs from the policy itself."
        )
    return Finding("both fall", holds, f"Both log-probabilities fall ({fell}): {why}.", todo)


def _drop(chosen: Trend, rejected: Trend, enough: bool) -> Finding:
    """Drastic drop: ∂ℓ/∂π⁻ outgrows ∂ℓ/∂π⁺ as π⁺/π⁻, so the rejected side moves first and fastest."""
    drop = -rejected.change
    holds = enough and rejected.fell and drop > DRASTIC and drop > abs(chosen.change)
    said = (
        f"Rejected responses became {math.exp(min(drop, 700.0)):.3g} times rarer, a move of {drop:.1f} nats against "
        f"{chosen.change:+.1f} of the chosen: the loss's slope in a response's probability goes as one over that "
        "probability, so the rarer side is pushed the harder the rarer it gets."
    )
    return Finding("drastic drop of the rejected", holds, said)


def _degradation(chosen: Trend, rejected: Trend, enough: bool) -> Finding:
    """Degradation: once π⁻ is small the factor σ(−βh) on the chosen side's push has gone, and only suppression is
    left."""
    holds = enough and rejected.fell and not chosen.rose
    said = (
        f"In the second half rejected responses still fell by {-rejected.change:.2f} nats and chosen ones did not rise "
        f"({chosen.change:+.2f}): the push on both fades as pairs are told apart, and what is left is suppression."
    )
    todo = "Stop earlier, or keep a push on the chosen side that does not fade (sft-dpo, rpo)."
    return Finding("degradation into suppression", holds, said, todo)


def _dispersion(chosen: Trend, rejected: Trend, enough: bool) -> Finding:
    """Dispersion: probability adds up to one, so what both sides lose is somewhere else."""
    holds = enough and chosen.fell and rejected.fell
    kept = math.exp(min(0.0, chosen.change))
    said = (
        f"A typical chosen response keeps {100 * kept:.3g} % of its probability and a rejected one "
        f"{100 * math.exp(min(0.0, rejected.change)):.3g} %; what they lost went to responses that no pair shows, good "
        "or bad."
    )
    todo = "Read samples: only they show where the mass went."
    return Finding("dispersion onto unseen responses", holds, said, todo)


def _crossed(chosen: Trend, rejected: Trend, enough: bool) -> Finding:
    said = (
        f"Chosen responses fell by {-chosen.change:.2f} nats while rejected ones rose by {rejected.change:.2f}: the "
        "opposite of what pairs ask for."
    )
    todo = "Check which side of the records is chosen, and the sign of the loss."
    return Finding("crossed", enough and chosen.fell and rejected.rose, said, todo)


def _both_rise(chosen: Trend, rejected: Trend, enough: bool) -> Finding:
    said = (
        f"Both log-probabilities rise (chosen {chosen.change:+.2f}, rejected {rejected.change:+.2f} nats): the policy "
        "learns the pairs' common style, as with an SFT term or a start that is far from them."
    )
    return Finding("both rise", enough and chosen.rose and rejected.rose, said)
