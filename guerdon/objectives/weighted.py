"""How much a pair counts, from how likely the policy itself would have written it (WPO)."""

import math

from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs
from guerdon.errors import GuerdonError
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective


def wpo(beta: float = 0.1, most: float = 1.0, smoothing: float = 0.0) -> Objective:
    """DPO × sg(min(most, w(y_w)·w(y_l))), w(y) = exp(mean_t[log π(y_t) − log Σ_v π(v)²]) (Zhou et al. 2024, 2406.11827,
    eq. 2 with sampled alignment).

    Σ_v π(v)², the statistic 'collision', is how likely the policy's own samples are on average, so w is near 1 where a
    recorded response could be a sample and near 0 where it could not: off-policy pairs count less. The authors' code
    cuts the product at 1 (``most``); TRL 1.16 does not. Weights do not enter the denominator. Raises GuerdonError where
    ``most`` is not above 0.
    """
    if not most > 0:
        raise GuerdonError(f"wpo(most=…) must be above 0, but {most} came.")
    cut = math.log(most)

    def weight(batch: Batch, pairs: Pairs) -> Tensor:
        steps = batch.read("steps")
        fit = reduce.average(steps.logprob("policy") - steps.stat("collision"), steps.mask)
        return (fit[pairs.winner] + fit[pairs.loser]).clamp(max=cut).exp()

    score, contrast = scaled(beta, log_ratio()), logistic(smoothing=smoothing)
    return pairwise(score, contrast, weight=weight, name="wpo", needs=("steps.stats.collision",))
