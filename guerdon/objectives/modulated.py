"""DPO with a dial on how much the reference counts."""

from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs
from guerdon.errors import NeedsError
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import Score, scaled
from guerdon.objectives.terms import Objective


def modulated_log_ratio(gamma: float, of: str = "policy", to: str = "reference") -> Score:
    """Σ_t log π_of − γ·sg(log π_to), in nats; at γ = 0 the reference is not read."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        if batch.steps is None:
            raise NeedsError("This score reads steps, but the batch has none.")
        value = reduce.total(batch.steps.logprob(of), batch.steps.mask)
        if gamma:
            value = value - gamma * reduce.total(batch.steps.logprob(to).detach(), batch.steps.mask)
        return value[pairs.rows(sign)]

    needs = (f"steps.logp.{of}", f"steps.logp.{to}") if gamma else (f"steps.logp.{of}",)
    return Score("modulated_log_ratio", call, needs)


def dpo_gamma(beta: float = 0.1, gamma: float = 0.5) -> Objective:
    """−log σ(β[log π(y_w)/π(y_l) + γ·log π_ref(y_l)/π_ref(y_w)]) (Chen et al. 2024, 2405.19534, section 4.3).

    γ = 1 is DPO, γ = 0 rewards the ranking alone; the paper sweeps 0 to 2 and recommends none, ½ lies between both. No
    relation to SimPO's γ.
    """
    return pairwise(scaled(beta, modulated_log_ratio(gamma)), logistic(), name="dpo_gamma")
