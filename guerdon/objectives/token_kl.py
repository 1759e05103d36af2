"""Log-ratios with the divergence along the response beside them, as token-level bandits ask for (TDPO)."""

from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import Score, log_ratio
from guerdon.objectives.terms import Objective


def tdpo(
    beta: float = 0.1, alpha: float = 0.5, smoothing: float = 0.0, drift: str = "kl:reference", detach: bool = True
) -> Objective:
    """−log σ(βh − αβ(D_l − sg D_w)), D = Σ_t KL at the response's own states (Zeng et al. 2024, 2404.11999, TDPO₂).

    ``alpha`` = 1 without ``detach`` is the first form (``tdpo1``). The divergence of the rejected side is held down,
    that of the chosen side is a constant. The paper's KL is KL(π_ref‖π). What worlds give, 'kl:reference', is
    KL(π‖π_ref) over the whole vocabulary: it agrees with the other to second order near the reference, and farther out
    charges what the policy adds instead of what it drops. ``drift`` names the statistic, for a world that has both.
    """
    ratio = log_ratio()

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = batch.read("steps")
        along = reduce.total(steps.stat(drift), steps.mask)[pairs.rows(sign)]
        along = along.detach() if detach and sign > 0 else along
        return beta * (ratio(batch, pairs, sign) + alpha * along)

    score = Score("log_ratio_and_drift", call, (*ratio.needs, f"steps.stats.{drift}"), "reward")
    return pairwise(score, logistic(smoothing=smoothing), name="tdpo")


def tdpo1(beta: float = 0.1, smoothing: float = 0.0, drift: str = "kl:reference") -> Objective:
    """−log σ(βh − β(D_l − D_w)) (Zeng et al. 2024, TDPO₁): both divergences are trained; see ``tdpo``."""
    return tdpo(beta, 1.0, smoothing, drift, detach=False)
