"""KL inside the reward: a penalty a step, and a row's reward on its last step."""

from torch import Tensor

from guerdon.divergences import Estimator, kl_estimate
from guerdon.errors import GuerdonError
from guerdon.reduce import masked
from guerdon.shaping.ends import last_step


def kl_in_reward(
    log_ratio: Tensor, mask: Tensor, coefficient: float, estimator: Estimator = "k1", clip: float | None = None
) -> Tensor:
    """−coefficient × the KL estimate of each step: log π_old − log π_reference [N,T] -> penalty [N,T], detached.

    clip: |log ratio| is held below it first. 0 outside the mask. As a reward only k1's policy gradient is the KL's own;
    k2 and k3 are offered because trainers do.
    """
    estimate = kl_estimate(masked(log_ratio.detach(), mask), estimator, gradient="none", clamp_ratio=clip)
    return masked(-coefficient * estimate, mask)


def with_terminal_reward(
    reward: Tensor, mask: Tensor, step_reward: Tensor | None = None, ok: Tensor | None = None
) -> Tensor:
    """A row's reward [N] on its last True step [N,T], added to the step rewards (such as the KL penalty) if given.

    ok: bool [N]; a row that is not ok gets no reward of its own, only its step rewards: leave it out of the loss.
    A row without a True step has no place for a reward and gets none. Gradient flows from a differentiable reward.
    """
    if reward.ndim != 1 or mask.ndim != 2 or len(reward) != len(mask):
        raise GuerdonError(
            f"A terminal reward needs rewards [N] and a mask [N,T], but {list(reward.shape)}, {list(mask.shape)} came."
        )
    at = last_step(mask) if ok is None else last_step(mask) & ok.unsqueeze(-1)
    placed = masked(reward.unsqueeze(-1).expand(mask.shape), at)
    return placed if step_reward is None else placed + masked(step_reward, mask)
