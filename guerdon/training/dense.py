"""Estimators with a dense reward beside the row's own: what an aligned policy implies of every step (RTO)."""

from dataclasses import replace

import torch
from torch import Tensor

from guerdon import advantages
from guerdon.batch import Batch, Channel, Scores, Status, Steps
from guerdon.errors import NeedsError
from guerdon.reduce import leave_one_out_mean, masked
from guerdon.shaping import implicit_credit, kl_in_reward, with_terminal_reward
from guerdon.training.estimators import row_reward, with_advantage
from guerdon.training.recipe import Estimator, Rollout


def with_implicit_credit(
    estimator: Estimator,
    beta: float = 0.05,
    clip: float | None = 0.05,
    weight: float = 1.0,
    guide: str = "guide",
    to: str = "reference",
) -> Estimator:
    """An estimator that is given step rewards: ``weight`` times the row's reward at its last step, and at every step β
    (log π_guide − log π_to), held within ±clip after scaling.

    RTO by PPO (Zhong et al. 2024, 2404.18922, Algorithm 1; defaults of its released code) is
    ``with_implicit_credit(generalised(kl=0.01))``: the KL of the live policy stays with the estimator, and is not
    clipped. A row without an OK reward has no step with one. β = 0, or a guide that is ``to``, leaves the estimator's
    own reward.
    """

    def call(rollout: Rollout) -> Batch:
        steps = _steps(rollout)
        mask, given = steps.mask, rollout.scores.only()
        value, ok = (x.to(mask.device) for x in (given.filled().detach(), given.ok))
        own = with_terminal_reward(value, mask) if value.ndim == 1 else masked(value, mask)
        dense = implicit_credit(steps.log_ratio(guide, to), mask, beta, clip)
        live = mask & (ok if ok.ndim == 1 else ok.any(-1)).unsqueeze(-1)
        status = torch.where(live, int(Status.OK), int(Status.NOT_APPLICABLE)).to(torch.int8)
        total = torch.where(live, weight * own + dense.to(own), torch.nan)
        return estimator(replace(rollout, scores=Scores({"total": Channel(total, status)})))

    needs = ("scores", f"steps.logp.{guide}", f"steps.logp.{to}", *estimator.needs)
    return Estimator(f"with_implicit_credit({estimator.name})", call, estimator.gives, tuple(dict.fromkeys(needs)))


def rto(
    beta: float = 0.05,
    clip: float | None = 0.05,
    kl: float = 0.01,
    weight: float = 1.0,
    guide: str = "guide",
    partition: str = "prompt",
) -> Estimator:
    """RTO without a critic: ``weight`` times the row's reward, plus reward to go of the dense part clip(β g_t) −
    kl·(log π_old − log π_ref)_t, each against its peers' mean (leave-one-out; to go, the peers' at the same step).

    The rewards are RTO's (Zhong et al. 2024, 2404.18922); its paper estimates advantages by GAE with a value network,
    for which see ``with_implicit_credit``. A step that no peer has is compared with 0. β = 0 and kl = 0 give RLOO.
    Normalise and bound the row's reward in the reward itself (the released code clamps it to ±10).
    """

    def call(rollout: Rollout) -> Batch:
        steps = _steps(rollout)
        reward, ok = (x.to(steps.mask.device) for x in row_reward(rollout))
        dense = implicit_credit(steps.log_ratio(guide, "reference"), steps.mask, beta, clip)
        if kl:
            dense = dense + kl_in_reward(steps.log_ratio("old", "reference"), steps.mask, kl)
        groups = rollout.samples.partition(partition)
        row = advantages.rloo(weight * reward, groups, ok)
        live = steps.mask & row.ok.unsqueeze(-1)
        to_go = advantages.monte_carlo(dense, live)
        peers = leave_one_out_mean(to_go, _same_step(groups.ids.to(live.device), live), live)
        value = row.advantage.unsqueeze(-1) + to_go - peers
        return with_advantage(rollout, advantages.Estimate(masked(value, live), live))

    names = (guide, "reference", *(("old",) if kl else ()))
    return Estimator("rto", call, ("advantages.total",), ("scores", *(f"steps.logp.{n}" for n in names)))


def _same_step(group: Tensor, live: Tensor) -> Tensor:
    """int64 [N,T]: equal for steps of one group [N] with the same place in their rows; −1 where not live."""
    number = group.unsqueeze(-1) * live.shape[-1] + live.cumsum(-1) - 1
    return torch.where(live & (group >= 0).unsqueeze(-1), number, -1)


def _steps(rollout: Rollout) -> Steps:
    if rollout.steps is None:
        raise NeedsError("An implicit reward stands on steps, but this world gives none.")
    return rollout.steps
