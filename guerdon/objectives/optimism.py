"""Optimism and pessimism about the reward: DPO and one signed term on the likelihood of named rows (VPO, RPO, SELM,
XPO, SFT-DPO).

The value max_π E r − β·KL of a calibrated reward r = β·log(π/π_ref) is −β·E_cal log(π/π_ref). Raising the likelihood of
the calibration rows therefore believes in low values (pessimism, for recorded pairs), lowering it in high ones
(optimism, for exploring).
"""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch
from guerdon.errors import GuerdonError
from guerdon.objectives.expectation import expectation
from guerdon.objectives.pairwise import dpo
from guerdon.objectives.terms import Metrics, Objective, Stats, Term


def relative_expectation(
    sign: float = 1.0,
    rows: str = "winner",
    floor: float | None = None,
    of: str = "policy",
    to: str = "reference",
    name: str = "value",
) -> Objective:
    """sign × E over rows of ρ = Σ_t log π_of − sg(log π_to): ``expectation`` with the constant that its gradient lacks.

    rows: a named index set of the batch, or 'winner' or 'loser' of its pairs. floor: ρ counts as no less than −floor
    nats, so that a term which lowers ρ ends there (None: unbounded). Rows without a live step have no weight. Metric:
    the mean ρ, before the floor. Raises GuerdonError for a negative floor.
    """
    if floor is not None and floor < 0:
        raise GuerdonError(f"relative_expectation(floor=…) must be at least 0 nats, but {floor} came.")

    def index(batch: Batch) -> Tensor:
        if rows in ("winner", "loser"):
            found: Tensor = batch.read("pairs").rows(1 if rows == "winner" else -1)
            return found
        named: Tensor = batch.read(f"rows.{rows}")
        return named

    def ratio(batch: Batch) -> Tensor:
        steps = batch.read("steps").take(index(batch))
        return reduce.total(steps.logprob(of) - steps.logprob(to).detach(), steps.mask)

    def unit(batch: Batch, stats: Stats) -> Tensor:
        found = ratio(batch)
        return sign * (found if floor is None else found.clamp(min=-floor))

    def weight(batch: Batch) -> Tensor:
        live: Tensor = batch.read("steps").mask[index(batch)].any(-1)
        return live.float()

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        live = weight(batch) > 0
        return {"log_ratio": (torch.where(live, ratio(batch), 0.0).sum(), live.sum().float())}

    needed = "pairs" if rows in ("winner", "loser") else f"rows.{rows}"
    return Objective((Term(name, (f"steps.logp.{of}", f"steps.logp.{to}", needed), unit, weight, None, metrics),))


def vpo(
    beta: float = 0.1, alpha: float = 0.1, sign: float = -1.0, rows: str = "winner", floor: float | None = None
) -> Objective:
    """−log σ(βh) + sign·α·β·E_cal[ρ], ρ the summed log-ratio of the rows that calibrate the reward (Cen et al. 2024,
    2405.19320, the policy form of algorithms 1 and 2).

    sign −1 is pessimistic, for recorded pairs, with 'winner' rows or samples of the behaviour policy as ``rows``; +1 is
    optimistic, for exploring, with samples of the reference. The pairs and the rows are averaged each by themselves.
    Optimism is unbounded below, so decay α or give a ``floor`` (see ``relative_expectation``). Raises GuerdonError for
    another sign.
    """
    if sign not in (-1.0, 1.0):
        raise GuerdonError(f"vpo(sign=…) must be -1 (pessimism) or 1 (optimism), but {sign} came.")
    belief = "pessimism" if sign < 0 else "optimism"
    return dpo(beta) + (alpha * beta) * relative_expectation(sign, rows, floor, name=belief)


def selm(beta: float = 0.01, alpha: float = 0.001, rows: str = "reference", floor: float | None = None) -> Objective:
    """−log σ(βh) + α·β·E[ρ(y′)], y′ drawn by the reference, which is the last iteration's policy (Zhang et al. 2024,
    2405.19332, the SELM objective; ``optimistic_dpo_loss`` of the authors' trainer).

    The same function as VPO's optimistic form; what differs is which policy is the reference. The bonus weighs α·β in
    all, 1e-5 with the paper's settings.
    """
    return vpo(beta, alpha, 1.0, rows, floor)


def xpo(beta: float = 0.1, alpha: float = 1e-5, rows: str = "reference") -> Objective:
    """−log σ(βh) + α·E[log π(y′)], y′ drawn by the reference (Xie et al. 2024, 2405.21046, algorithm 1).

    Unlike VPO's and SELM's bonus this one has no factor β and no constant log π_ref(y′). log π is summed over the
    tokens of y′. The default α is that of TRL's former XPOTrainer, which also takes one value an epoch.
    """
    return dpo(beta) + alpha * expectation(1.0, rows, "total", name="xpo")


def rpo(beta: float = 0.01, eta: float = 0.005, per: str = "total", scaled: bool = True) -> Objective:
    """−log σ(βh) − ηβ·log π(y_w): the SFT term is the adversary that a maximin over plausible rewards faces (Liu et al.
    2024, 2405.16436, the RPO objective with the chosen responses as baseline policy).

    per: 'total' sums over the tokens of y_w (the authors' Zephyr recipes), 'average' takes their mean (their OpenRLHF
    recipe: η 0.2, β 0.5, ``scaled`` False). scaled: whether η is multiplied by β. The two choices differ by factors of
    length and of 1/β, so neither is implied.
    """
    return dpo(beta) + (eta * beta if scaled else eta) * expectation(-1.0, "winner", per, name="nll")


def sft_dpo(beta: float = 0.1, gamma: float = 0.01) -> Objective:
    """−log σ(βh) − γ·log π(y_w), which keeps ∂ℓ/∂π(y_w) at −γ/π(y_w) where DPO's own push has faded (Yan et al. 2024,
    2406.07327, section on regularisation). RPO with γ in place of ηβ; the paper prints no γ."""
    return rpo(beta, gamma, scaled=False)
