"""BRAIn: the policy is fitted to the posterior, given that the output is good, by self-normalised weights."""

import torch
from torch import Tensor

from guerdon.batch import Batch, Lists
from guerdon.errors import GuerdonError
from guerdon.objectives.listwise import row_scores
from guerdon.objectives.scores import log_ratio
from guerdon.objectives.terms import Metrics, Objective, Stats, Term
from guerdon.reduce import masked

FORMS = ("self_normalised", "baseline", "plain")
# Stands for log 0 where −∞ would turn gradients into NaN.
_NOTHING = -1e30


def matching_weights(log_target: Tensor, log_policy: Tensor, mask: Tensor, form: str = "self_normalised") -> Tensor:
    """Weights w [G,K] of a distribution-matching gradient Σ_i w_i ∇log q_θ(y_i) from n rows y_i ~ q'.

    log_target: log p(y|good) − log q'. log_policy: log q_θ − log q'. mask: bool [G,K], others get 0. With α, β their
    exponentials and α̂, β̂ the same divided by their sums over the list: 'self_normalised' α̂ − β̂ (BRAIn, Pandey et al.
    2024, 2402.02479), which sums to 0 and needs no normalising constant of the target; 'baseline' (α − β)/n (GDC++,
    Korbak et al. 2022); 'plain' α/n (DPG, Khalifa et al. 2021). A list without rows gives 0. Raises GuerdonError for
    another form.
    """
    if form not in FORMS:
        raise GuerdonError(f"The form must be one of {', '.join(FORMS)}, but {form!r} came.")
    target, policy = (masked(x, mask, _NOTHING) for x in (log_target, log_policy))
    if form == "self_normalised":
        return torch.where(mask, target.softmax(-1) - policy.softmax(-1), 0.0)
    alpha = target.exp() if form == "plain" else target.exp() - policy.exp()
    return torch.where(mask, alpha, 0.0) / mask.sum(-1, keepdim=True).clamp(min=1)


def effective_samples(log_weight: Tensor, mask: Tensor) -> Tensor:
    """1/Σ_i ŵ_i² [G] of self-normalised weights: from 1 (one row has it all) to the number of rows. 0 without rows."""
    weight = torch.where(mask, masked(log_weight, mask, _NOTHING).softmax(-1), 0.0)
    return torch.where(mask.any(-1), 1 / weight.square().sum(-1).clamp(min=1e-30), 0.0)


def brain(gamma: float = 1.0, prior: str = "reference", behaviour: str = "sampler") -> Objective:
    """−Σ_i sg(α̂_i)·log softmax_i(log q_θ(y_i) − log q'(y_i)) over the n rows of a list, α̂ = softmax_i(log p(y_i) −
    log q'(y_i) + r_i/γ): the KL of the self-normalised posterior from the self-normalised policy, up to a constant;
    its gradient is −Σ(α̂ − β̂)∇log q_θ (Pandey et al. 2024, 2402.02479).

    Lists carry rewards r as values; p(good|y) ∝ e^{r/γ}, so that the posterior is the optimum of reward minus γ·KL to
    the prior p (the snapshot ``prior``): add no further KL. behaviour: whose log-probs q' are: 'sampler', what was
    recorded while sampling, or, for recorded rows that the SFT model is taken to have written, the prior itself; then
    one-hot weights of two rows are DPO with β = 1. Lists of one row have no weight. Metrics: 'effective_samples' of α̂,
    near 1 where one row has all the weight, 'policy_effective_samples' of β̂, and 'reward' of the policy under β̂.
    """
    if not gamma > 0:
        raise GuerdonError(f"BRAIn divides rewards by gamma, which must be above 0, but {gamma} came.")
    policy, from_prior = log_ratio("policy", behaviour), log_ratio(prior, behaviour)

    def read(batch: Batch) -> tuple[Lists, Tensor, Tensor]:
        """lists, log q_θ/q' [G,K], log α [G,K]."""
        lists: Lists = batch.read("lists")
        now, before = (row_scores(score, batch, lists) for score in (policy, from_prior))
        return lists, now, before.detach() + lists.values().to(now) / gamma

    def unit(batch: Batch, stats: Stats) -> Tensor:
        lists, now, target = read(batch)
        share = masked(target, lists.mask, _NOTHING).softmax(-1)
        said = masked(now, lists.mask, _NOTHING).log_softmax(-1)
        return -torch.where(lists.mask, share * said, 0.0).sum(-1)

    def weight(batch: Batch) -> Tensor:
        lists = batch.read("lists")
        return torch.where(lists.mask.sum(-1) >= 2, lists.weights(), 0.0)

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        lists, now, target = read(batch)
        kept = lists.mask.sum(-1) >= 2
        law = masked(now, lists.mask, _NOTHING).softmax(-1)
        values = {
            "effective_samples": effective_samples(target, lists.mask),
            "policy_effective_samples": effective_samples(now, lists.mask),
            "reward": (law * lists.values().to(law)).sum(-1),
        }
        return {name: (x[kept].sum(), kept.sum().to(x)) for name, x in values.items()}

    needs = tuple(dict.fromkeys(("lists", *policy.needs, *from_prior.needs)))
    return Objective((Term("brain", needs, unit, weight, None, metrics),))
