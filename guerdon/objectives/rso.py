"""RSO's losses: a scale γ of their own, apart from the temperature of the rejection sampling that made the pairs."""

from guerdon.errors import GuerdonError
from guerdon.objectives.pairwise import dpo, hinge, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective

LINKS = ("sigmoid-norm", "hinge-norm")


def rso(beta: float = 0.05, link: str = "sigmoid-norm") -> Objective:
    """−log σ(βh) (sigmoid-norm, DPO with β = γ) or max(0, 1 − βh) (hinge-norm), h the difference of summed log-ratios
    (Liu et al. 2023, 2309.06657, section 3; β is the paper's γ). Raises GuerdonError for another ``link``."""
    if link not in LINKS:
        raise GuerdonError(f"rso(link=…) must be one of {', '.join(LINKS)}, but {link!r} came.")
    if link == "sigmoid-norm":
        return dpo(beta)
    return pairwise(scaled(beta, log_ratio()), hinge(1.0), name="rso")
