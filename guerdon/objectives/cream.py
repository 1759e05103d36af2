"""CREAM: DPO on labels of the policy's own, each as strong as it is sure of them."""

from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective


def cream(beta: float = 0.1, to: str = "round") -> Objective:
    """−C log σ(βh) − (1 − C) log σ(−βh), h against the policy at the start of the self-rewarding round, not the first
    one (Wang et al. 2024, 2410.12735).

    It is DPO on soft pairs, P(w ≻ l) = C, so DPO at C = 1, cDPO with ε = 1 − C where C is one number, and its optimum
    is βh = log C/(1 − C). ``training.self_labelled`` gives such pairs.
    """
    return pairwise(scaled(beta, log_ratio(to=to)), logistic(), name="cream")
