"""Proxy rewards: tiny Bradley–Terry models fitted to noisy pairs, good near the data and hackable far from it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guerdon.batch import Seed, TokenRows
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.pairs import GoldPairs
from guerdon.lab.text_gold.policy import fresh_policy
from guerdon.rewards.models import ScalarRewardModel, TensorReward
from guerdon.training.reward_models import fit_scalar_model

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def proxy_model(seed: Seed, policy: "LlamaForCausalLM | None" = None) -> ScalarRewardModel:
    """An unfitted reward model: the policy's architecture with a scalar head on the last response token.

    Its backbone is a copy of ``policy``'s, or drawn from ``seed`` where None (members that start apart disagree more).
    """
    backbone = deepcopy(policy.model) if policy is not None else fresh_policy(seed).model
    return ScalarRewardModel(backbone, words.tokenizer(), seed=seed.child("head"))


def fit_proxy(
    compared: GoldPairs, seed: Seed, policy: "LlamaForCausalLM | None" = None, epochs: int = 2
) -> ScalarRewardModel:
    """Fit one member: AdamW 1e-3 from the policy, 3e-3 from random weights; two epochs keep it calibrated."""
    model = proxy_model(seed, policy)
    lr = 1e-3 if policy is not None else 3e-3
    fit_scalar_model(compared.records(), model, epochs=epochs, lr=lr, seed=seed.child("fit"))
    return model.eval()


@torch.no_grad()
def raw_scores(models: Sequence[ScalarRewardModel], rows: TokenRows) -> Tensor:
    """Scores [N,K] of K members, not standardised."""
    return torch.cat([m(rows) for m in models], 1) if models else torch.zeros(len(rows), 0)


@dataclass(frozen=True)
class Proxy:
    """K fitted members and their mean and standard deviation [K] on samples of the start policy."""

    models: tuple[ScalarRewardModel, ...]
    mean: Tensor
    sd: Tensor

    def __call__(self, rows: TokenRows) -> Tensor:
        """Standardised scores [N,K]: on the start policy every member has mean 0 and deviation 1."""
        return (raw_scores(self.models, rows) - self.mean) / self.sd

    def reward(self, member: int | None = 0) -> TensorReward:
        """One member as a reward, or all as channels 'member/k' (None)."""
        if member is None:
            return TensorReward(self, "proxy", members=len(self.models))
        single = Proxy(self.models[member : member + 1], self.mean[member : member + 1], self.sd[member : member + 1])
        return TensorReward(single, "proxy")


def standardised(models: Sequence[ScalarRewardModel], rows: TokenRows) -> Proxy:
    """Members centred and scaled on ``rows``, samples of the start policy."""
    z = raw_scores(models, rows)
    return Proxy(tuple(models), z.mean(0), z.std(0).clamp_min(1e-6) if models else torch.ones(0))
