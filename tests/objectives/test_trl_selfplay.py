"""Our self-play losses against TRL's own code on random inputs.

TRL 1.16 has 'sppo_hard' in DPOTrainer and online DPO in experimental; it dropped its Nash-MD trainer, and never had the
soft SPPO. Known deviations: online DPO takes the first response as chosen where both score the same, we leave such a
prompt out; and with missing_eos_penalty it changes rewards, which is a transform here.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from guerdon.batch import Batch, Channel, Pairs, Samples, Scores, Steps
from guerdon.objectives import dpo, ipo_sum, sppo_hard
from guerdon.training.builds import best_worst
from guerdon.training.recipe import Rollout

pytest.importorskip("trl")

PAIRS, WIDTH = 6, 7


class Accelerator:
    """What the losses ask of accelerate, for one process."""

    device = torch.device("cpu")

    def unwrap_model(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    def gather_for_metrics(self, x: Any) -> Any:
        return x

    gather = gather_for_metrics

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def table(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probs, mask) of 2·PAIRS rows of unequal length; log-probs are 0 outside, as TRL's fused head gives them."""
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(1, WIDTH + 1, (2 * PAIRS, 1), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(WIDTH)[None] < length
    return torch.where(mask, -torch.rand(2 * PAIRS, WIDTH, generator=g), 0.0), mask


def ours(objective: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, gradient) on the first half as winners."""
    logp, mask = table(1)
    logp = logp.requires_grad_()
    batch = Batch(
        Steps(mask, {"policy": logp, "reference": table(2)[0]}),
        pairs=Pairs(torch.arange(PAIRS), torch.arange(PAIRS, 2 * PAIRS)),
    )
    loss = objective.loss(batch).value
    return loss.detach(), torch.autograd.grad(loss, logp)[0]


def dpo_trainer(loss_type: str, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, gradient) of ``DPOTrainer._compute_loss`` with a model that answers with our log-probs."""
    from trl import DPOTrainer

    logp, mask = table(1)
    logp = logp.requires_grad_()

    def answering(values: torch.Tensor) -> Any:
        zeros = torch.zeros_like(values)
        out = SimpleNamespace(
            log_probs=values, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), log_sum_sq_probs=zeros
        )

        class Model(torch.nn.Module):
            is_gradient_checkpointing = False

            def forward(self, **kwargs: Any) -> Any:
                return out

        return Model()

    model = answering(logp)
    stub = SimpleNamespace(
        model=model,
        ref_model=answering(table(2)[0]),
        accelerator=Accelerator(),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        beta=beta,
        loss_types=[loss_type],
        loss_weights=[1.0],
        label_smoothing=0.0,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=1.0,
        precompute_ref_logps=False,
        aux_loss_enabled=False,
        use_weighting=False,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    whole = torch.cat([torch.zeros(2 * PAIRS, 1, dtype=torch.int64), mask.long()], 1)
    inputs = {"input_ids": torch.ones_like(whole), "attention_mask": whole, "completion_mask": whole}
    loss = DPOTrainer._compute_loss(stub, model, inputs, False)
    return loss.detach(), torch.autograd.grad(loss, logp)[0] * mask  # its head gives 0 outside, without gradient


def test_sppo_hard() -> None:
    """η is TRL's 1/β."""
    for beta in (1.0, 0.1, 0.01):
        (value, gradient), (expected, slope) = ours(sppo_hard(1 / beta)), dpo_trainer("sppo_hard", beta)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-5)


def online_trainer(loss_type: str, beta: float, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, gradient) of ``OnlineDPOTrainer.training_step`` on two responses a prompt, the second ones after the first
    ones."""
    from trl.experimental.online_dpo import OnlineDPOTrainer

    logp, mask = table(1)
    logp = logp.requires_grad_()
    model = torch.nn.Linear(1, 1)
    reference = torch.nn.Linear(1, 1)
    ids = torch.ones(2 * PAIRS, WIDTH, dtype=torch.int64)
    stub = SimpleNamespace(
        args=SimpleNamespace(
            use_vllm=False,
            missing_eos_penalty=None,
            loss_type=loss_type,
            torch_empty_cache_steps=None,
            optim="adamw_torch",
            n_gpu=1,
            gradient_accumulation_steps=1,
        ),
        accelerator=Accelerator(),
        beta=beta,
        ref_model=reference,
        reward_funcs=[None],
        eos_token_ids=[0],
        state=SimpleNamespace(global_step=1),
        stats=defaultdict(list),
        processing_class=SimpleNamespace(batch_decode=lambda x, skip_special_tokens: [""] * len(x)),
        _generate=lambda model, prompts, images: (ids[:, :1], ids[:, :1], ids, mask.long(), None),
        _forward=lambda asked, *rest: logp if asked is model else table(2)[0],
        _calculate_rewards_from_functions=lambda **kwargs: rewards.clone(),
    )
    loss = OnlineDPOTrainer.training_step(stub, model, {"prompt": [f"p{i}" for i in range(PAIRS)]})
    return loss, logp.grad


def our_online(objective: Any, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same through ``best_worst`` on a rollout."""
    logp, mask = table(1)
    logp = logp.requires_grad_()
    steps = Steps(mask, {"policy": logp, "reference": table(2)[0]})
    samples = Samples([None] * 2 * PAIRS, [f"p{i}" for i in range(PAIRS)] * 2)
    rollout = Rollout(samples, steps, scores=Scores({"reward": Channel(rewards)}))
    (batch,) = best_worst()(rollout.batch(), rollout)
    loss = objective.loss(batch).value
    return loss.detach(), torch.autograd.grad(loss, logp)[0]


@pytest.mark.parametrize(("loss_type", "objective"), [("sigmoid", dpo(0.3)), ("ipo", ipo_sum(0.3))])
def test_online_dpo(loss_type: str, objective: Any) -> None:
    rewards = torch.randn(2 * PAIRS, generator=torch.Generator().manual_seed(3))
    (value, gradient), (expected, slope) = our_online(objective, rewards), online_trainer(loss_type, 0.3, rewards)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-5)


def test_online_dpo_ties_are_learned_by_trl_and_left_out_here() -> None:
    rewards = torch.zeros(2 * PAIRS)
    rewards[0] = 1.0
    _, gradient = our_online(dpo(0.3), rewards)
    _, slope = online_trainer("sigmoid", 0.3, rewards)
    assert int((gradient.abs().sum(-1) > 0).sum()) == 2
    assert int((slope.abs().sum(-1) > 0).sum()) == 2 * PAIRS
