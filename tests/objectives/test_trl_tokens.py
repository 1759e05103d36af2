"""LD-DPO against TRL's own DPOTrainer: ``ld_alpha``.

No deviation: TRL counts positions by the cumulative mask and uses one mask for policy and reference, as we do. (Its
chosen rows stand in the first half of a batch and the rejected in the second, so that a row can only be in one pair.)
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import ld_dpo

pytest.importorskip("trl")

PAIRS, WIDTH = 5, 9


class Said(nn.Module):
    """A model whose log-probs are a table; what TRL reads of an output beside them is beyond these tests."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.is_gradient_checkpointing = False

    def forward(self, input_ids: Tensor, labels: Tensor, **_: Any) -> Any:
        # TRL's own forward gives 0 where a label is −100.
        # TRL's fused head gives 0 where a label is −100, and the log-prob of position t + 1 at t.
        logp = torch.where((labels != -100)[:, 1:], self.table, 0.0)
        zeros = torch.zeros_like(logp)
        return SimpleNamespace(log_probs=logp, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def trainer(policy: Said, reference: Said, beta: float, alpha: float | None) -> Any:
    """As much of a DPOTrainer as its loss reads."""
    return SimpleNamespace(
        model=policy,
        ref_model=reference,
        accelerator=SimpleNamespace(
            device=torch.device("cpu"),
            gather_for_metrics=lambda x: x,
            gather=lambda x: x,
        ),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        aux_loss_enabled=False,
        ld_alpha=alpha,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=0.0,
        use_weighting=False,
        _total_train_tokens=0,
        _tp_size=1,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ld_dpo_is_trls(alpha: float) -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    g = torch.Generator().manual_seed(3)
    prompt = torch.randint(1, 4, (2 * PAIRS,), generator=g)
    length = torch.randint(1, WIDTH - 3, (2 * PAIRS,), generator=g)
    at = torch.arange(WIDTH)
    completion = (at >= prompt[:, None]) & (at < (prompt + length)[:, None])
    tables = [-torch.rand(2 * PAIRS, WIDTH - 1, generator=g) for _ in range(2)]
    policy, reference = Said(tables[0]), Said(tables[1])
    ids = torch.zeros(2 * PAIRS, WIDTH, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": completion.long()}
    theirs = DPOTrainer._compute_loss(trainer(policy, reference, 0.4, alpha), policy, inputs, False)
    (slope,) = torch.autograd.grad(theirs, policy.table)

    # Our steps stand at the token they score, TRL's at the one before.
    live = completion[:, 1:]
    mine = tables[0].clone().requires_grad_()
    steps = Steps(live, {"policy": mine, "reference": tables[1]})
    pairs = Pairs(torch.arange(PAIRS), torch.arange(PAIRS, 2 * PAIRS))
    ours = ld_dpo(0.4, alpha).loss(Batch(steps, pairs=pairs)).value
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(ours, mine)[0], slope, rtol=1e-5, atol=1e-7)
