"""Against TRL's own DPOTrainer, on random pairs: value and gradient of every link that it has.

Where TRL deviates, the test of that loss says so: 'bco_pair' leaves the shift δ out; 'aot' sorts every micro-batch by
itself; 'discopop' is NaN for hopeless pairs; every loss is the mean over a micro-batch, so that uneven ones weigh
alike. 'hinge' has its margin at 1 in units of β·h, as ours.
"""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import (
    Objective,
    aot,
    apo_down,
    apo_zero,
    bco_pair,
    discopop,
    dpo,
    exo,
    hinge_dpo,
    ipo_mean,
    nca,
    robust_dpo,
)
from guerdon.training.numbered import number_pairs

pytest.importorskip("trl")

PAIRS, WIDTH, BETA = 6, 5, 0.3


def trls(
    kind: str, policy: Tensor, reference: Tensor, mask: Tensor, smoothing: float = 0.0, beta: float = BETA
) -> Tensor:
    """``DPOTrainer._compute_loss`` on a trainer that is nothing but what that function reads. Tables [2P,T] hold the
    log-probs of response tokens, chosen rows first."""
    from trl.trainer.dpo_trainer import DPOTrainer

    zeros = torch.zeros_like(policy)

    def model(**_: Any) -> Any:
        log_probs = torch.where(mask, policy, 0.0)
        return SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

    total = torch.where(mask, reference, 0.0).sum(-1)
    n = len(policy)
    ids = torch.zeros(n, WIDTH + 1, dtype=torch.int64)
    whole = torch.cat([torch.zeros(n, 1, dtype=torch.bool), mask], 1).long()
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": whole,
        "ref_chosen_logps": total[: n // 2],
        "ref_rejected_logps": total[n // 2 :],
    }
    fake = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x, gather=lambda x: x),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=smoothing,
        use_weighting=False,
        _total_train_tokens=0,
        _tp_size=1,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    return DPOTrainer._compute_loss(fake, model, inputs, False)


def tables(seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Policy and reference log-probs [2P,T], and ragged masks."""
    g = torch.Generator().manual_seed(seed)
    policy, reference = (-3 * torch.rand(2 * PAIRS, WIDTH, generator=g) for _ in range(2))
    length = torch.randint(1, WIDTH + 1, (2 * PAIRS, 1), generator=g)
    return policy.requires_grad_(), reference, torch.arange(WIDTH) < length


def ours(objective: Objective, policy: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    pairs = Pairs(torch.arange(PAIRS), torch.arange(PAIRS, 2 * PAIRS))
    batch = Batch(Steps(mask, {"policy": policy, "reference": reference}), pairs=pairs)
    return objective.loss(number_pairs(batch)).value


def number(x: Tensor) -> float:
    return float(x.detach())


SAME = [
    ("sigmoid", 0.0, dpo(BETA)),
    ("robust", 0.0, robust_dpo(BETA, 0.0)),
    ("robust", 0.2, robust_dpo(BETA, 0.2)),
    ("hinge", 0.0, hinge_dpo(BETA)),
    ("ipo", 0.0, ipo_mean(BETA)),
    ("exo_pair", 1e-3, exo(BETA, 1e-3)),
    ("exo_pair", 0.1, exo(BETA, 0.1)),
    ("nca_pair", 0.0, nca(BETA)),
    ("apo_zero", 0.0, apo_zero(BETA)),
    ("apo_down", 0.0, apo_down(BETA)),
    ("discopop", 0.0, discopop(BETA, 0.05)),
    ("aot", 0.0, aot(BETA)),
    ("aot", 0.1, aot(BETA, 0.1)),
]


@pytest.mark.parametrize(("kind", "smoothing", "objective"), SAME, ids=lambda x: x if isinstance(x, str) else None)
def test_trl_computes_the_same(kind, smoothing, objective):
    policy, reference, mask = tables()
    mine, theirs = ours(objective, policy, reference, mask), trls(kind, policy, reference, mask, smoothing)
    assert number(mine) == pytest.approx(number(theirs), abs=1e-5)
    (a,), (b,) = (torch.autograd.grad(x, policy) for x in (mine, theirs))
    torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_trl_leaves_bcos_shift_out():
    """Ours is TRL's once δ is taken off every log-ratio, so the two agree where δ = 0 alone."""
    policy, reference, mask = tables()
    mine = ours(bco_pair(BETA), policy, reference, mask)
    assert number(mine) != pytest.approx(number(trls("bco_pair", policy, reference, mask)), abs=1e-3)
    ratio = torch.where(mask, policy - reference, 0.0).sum(-1)
    first = torch.arange(WIDTH) == 0
    shifted = policy - torch.where(first, ratio.mean(), 0.0).detach()
    theirs = trls("bco_pair", shifted, reference, mask)
    assert number(mine) == pytest.approx(number(theirs), abs=1e-5)
    (a,), (b,) = (torch.autograd.grad(x, policy) for x in (mine, theirs))
    torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_trl_sorts_every_micro_batch_by_itself():
    """The mean of its halves is not its whole, where ours is."""
    policy, reference, mask = tables()
    at = torch.arange(2 * PAIRS).view(2, 2, PAIRS // 2).transpose(0, 1).reshape(2, -1)
    halves = torch.stack([trls("aot", policy[i], reference[i], mask[i]) for i in at]).mean()
    whole = trls("aot", policy, reference, mask)
    assert number(halves) != pytest.approx(number(whole), abs=1e-3)
    pairs = Pairs(torch.arange(PAIRS), torch.arange(PAIRS, 2 * PAIRS))
    batch = number_pairs(Batch(Steps(mask, {"policy": policy, "reference": reference}), pairs=pairs))
    cuts = [batch.take(i) for i in at]
    stats, weight = aot(BETA).couple(cuts), aot(BETA).denominators(cuts)
    shares = sum(number(aot(BETA).loss(part, weight, stats).value) for part in cuts)
    assert shares == pytest.approx(number(whole), abs=1e-6)


def test_trls_discopop_is_not_a_number_for_hopeless_pairs():
    policy = torch.cat([torch.full((PAIRS, WIDTH), -200.0), torch.zeros(PAIRS, WIDTH)]).requires_grad_()
    reference, mask = torch.full_like(policy, -1.0).detach(), torch.ones(2 * PAIRS, WIDTH, dtype=torch.bool)
    assert math.isnan(number(trls("discopop", policy, reference, mask)))
    assert number(ours(discopop(BETA), policy, reference, mask)) == pytest.approx(BETA * 200 * WIDTH, rel=1e-6)
