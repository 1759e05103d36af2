"""RPO and SFT-DPO against TRL's own DPO loss with an 'sft' part.

Known deviations of TRL 1.16: its 'sft' part is the mean over *all chosen tokens of the batch*, so long responses weigh
more; the paper's average variant takes each response's mean first, its cumulative variant sums tokens, and both are
what ``rpo`` gives. No TRL option multiplies the weight by β. XPOTrainer is gone from TRL 1.16; its published loss
(α·Σ log π(y′), no β) is held by hand in ``test_optimism.py``.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import Objective, dpo, rpo, sft, sft_dpo

trl = pytest.importorskip("trl")

PAIRS, WIDTH, PROMPT = 4, 7, 2


def drawn(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(policy, reference, mask) [2P, WIDTH] of response tokens, zero elsewhere, chosen rows first."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[i < n for i in range(WIDTH)] for n in lengths])
    policy, reference = (-3 * torch.rand(len(lengths), WIDTH, generator=g) * mask for _ in range(2))
    return policy, reference, mask


class Model:
    """Answers with log-probabilities that are already there, as TRL's fused head does."""

    training = True

    def __init__(self, logp: Tensor) -> None:
        rest = torch.zeros_like(logp)
        self.out = SimpleNamespace(
            log_probs=logp, entropy=rest, mean_logits=rest, is_top1=rest.bool(), log_sum_sq_probs=rest
        )

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        return self.out


def trl_loss(policy: Tensor, reference: Tensor, mask: Tensor, beta: float, parts: dict[str, float]) -> Tensor:
    """``DPOTrainer._compute_loss`` on stored log-probabilities."""
    from trl.trainer.dpo_trainer import DPOTrainer

    def same(x: Any) -> Any:
        return x

    stub = SimpleNamespace(
        model=SimpleNamespace(training=True),
        ref_model=None,
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=same, gather=same),
        args=SimpleNamespace(),
        beta=beta,
        label_smoothing=0.0,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=0.5,
        loss_types=list(parts),
        loss_weights=list(parts.values()),
        use_weighting=False,
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    whole = torch.cat([torch.zeros(len(mask), 1 + PROMPT, dtype=torch.long), mask.long()], -1)
    logp = torch.cat([torch.zeros(len(mask), PROMPT), policy], -1)
    ref = (reference * mask).sum(-1)
    inputs = {
        "input_ids": torch.zeros_like(whole),
        "attention_mask": torch.ones_like(whole),
        "completion_mask": whole,
        "ref_chosen_logps": ref[: len(ref) // 2],
        "ref_rejected_logps": ref[len(ref) // 2 :],
    }
    loss: Tensor = DPOTrainer._compute_loss(stub, Model(logp), inputs, False)
    return loss


def ours(objective: Objective, policy: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    half = len(mask) // 2
    pairs = Pairs(torch.arange(half), torch.arange(half, 2 * half))
    return objective.loss(Batch(Steps(mask, {"policy": policy, "reference": reference}), pairs=pairs)).value


LENGTHS = [3, 7, 1, 5, 2, 4, 6, 1]
EVEN = [5, 5, 5, 5, 2, 4, 6, 1]


@pytest.mark.parametrize("seed", range(3))
def test_trls_sft_part_is_the_token_mean_over_the_batch(seed: int) -> None:
    rows = drawn(LENGTHS, seed)
    expected = trl_loss(*rows, 0.1, {"sigmoid": 1.0, "sft": 0.3})
    found = ours(dpo(0.1) + 0.3 * sft("winner"), *rows)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    # Not the paper's mean of each response's mean, but where lengths are equal.
    average = ours(rpo(0.1, 0.3, "average", False), *rows)
    assert abs(average.item() - expected.item()) > 1e-3
    even = drawn(EVEN, seed)
    expected = trl_loss(*even, 0.1, {"sigmoid": 1.0, "sft": 0.3})
    assert ours(rpo(0.1, 0.3, "average", False), *even).item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_cumulative_variant_needs_trls_weight_times_length(seed: int) -> None:
    rows = drawn(EVEN, seed)
    eta, beta = 0.4, 0.1
    expected = trl_loss(*rows, beta, {"sigmoid": 1.0, "sft": eta * beta * 5})
    assert ours(rpo(beta, eta), *rows).item() == pytest.approx(expected.item(), abs=1e-5)
    gamma = 0.02
    expected = trl_loss(*rows, beta, {"sigmoid": 1.0, "sft": gamma * 5})
    assert ours(sft_dpo(beta, gamma), *rows).item() == pytest.approx(expected.item(), abs=1e-5)


def test_gradients_agree_too() -> None:
    policy, reference, mask = drawn(EVEN)
    grads = []
    for loss in (
        lambda x: trl_loss(x, reference, mask, 0.2, {"sigmoid": 1.0, "sft": 0.5}),
        lambda x: ours(rpo(0.2, 0.5, "average", False), x, reference, mask),
    ):
        leaf = policy.clone().requires_grad_()
        (found,) = torch.autograd.grad(loss(leaf), leaf)
        grads.append(found * mask)
    assert torch.allclose(*grads, atol=1e-5)
