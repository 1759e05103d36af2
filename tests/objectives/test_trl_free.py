"""CPO, AlphaPO, ORPO, TPO, f-divergences and WPO against TRL 1.16's own code.

Known deviations of TRL, none of them in the parts compared: ORPO's NLL takes in the prompt (TRL says so in a comment),
ours the response alone; ``f_alpha_divergence_coef`` is 1 − α of the f-DPO paper; its forward KL clamps no exponent and
turns infinite at ρ < −88, ours is held at e^80; WPO's weights are not cut at 1 as in the authors' code; AlphaPO
raises e^{log p} to a power, so that a mean log-prob below −103 becomes 0 and its reward infinite, where ours is held.
"""

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guerdon import reduce
from guerdon.batch import Batch, Lists, Pairs, Steps
from guerdon.objectives import Objective, alphapo, cpo, dpo, f_dpo, orpo, pairwise, sft, triple_po, triple_po_l, wpo
from guerdon.objectives.odds import log_odds
from guerdon.objectives.pairwise import logistic
from guerdon.objectives.scores import mean_logprob

pytest.importorskip("trl")

PAIRS, WIDTH, WORDS = 5, 9, 7
PLAIN = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x, gather=lambda x: x)


def completions(rows: int, seed: int) -> Tensor:
    """bool [rows, WIDTH]: a prompt, then a response, then padding."""
    g = torch.Generator().manual_seed(seed)
    prompt = torch.randint(1, 4, (rows,), generator=g)
    length = torch.randint(1, WIDTH - 3, (rows,), generator=g)
    at = torch.arange(WIDTH)
    return (at >= prompt[:, None]) & (at < (prompt + length)[:, None])


def batch(seed: int, scale: float = 1.0) -> Batch:
    """Pairs of rows of unequal length, the winners first, as TRL lays them out."""
    g = torch.Generator().manual_seed(seed)
    logp = {n: -scale * torch.rand(2 * PAIRS, WIDTH - 1, generator=g) for n in ("policy", "reference")}
    logp["policy"].requires_grad_()
    stats = {"collision": -torch.rand(2 * PAIRS, WIDTH - 1, generator=g)}
    mask = completions(2 * PAIRS, seed)[:, 1:]
    return Batch(Steps(mask, logp, stats), pairs=Pairs(torch.arange(PAIRS), torch.arange(PAIRS, 2 * PAIRS)))


def agree(ours: Tensor, theirs: Tensor, *leaves: Tensor) -> None:
    """Values and gradients."""
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for leaf in leaves:
        (a,), (b,) = (torch.autograd.grad(x, leaf, retain_graph=True) for x in (ours, theirs))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def of_rows(b: Batch, mean: bool) -> tuple[Tensor, Tensor]:
    """Log-probs of both sides, as TRL hands them to its loss."""
    found = (reduce.average if mean else reduce.total)(b.steps.logprob("policy"), b.steps.mask)
    return found[:PAIRS], found[PAIRS:]


@pytest.mark.parametrize(
    ("kind", "alpha", "smoothing", "ours"),
    [
        ("sigmoid", 0.0, 0.1, cpo(0.3, 0.0, 0.1)),
        ("simpo", 0.25, 0.0, alphapo(2.5, 0.25, 0.5)),
        ("simpo", -0.5, 0.1, alphapo(1.5, -0.5, 0.5, 0.1)),
        ("simpo", 0.0, 0.0, alphapo(2.5, 0.0, 0.5)),
    ],
)
def test_cpo_and_alphapo_are_trls(kind: str, alpha: float, smoothing: float, ours: Objective) -> None:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    b = batch(1)
    beta = {"sigmoid": 0.3}.get(kind, 1.5 if alpha < 0 else 2.5)
    this = SimpleNamespace(
        alpha=alpha, beta=beta, loss_type=kind, simpo_gamma=0.5, label_smoothing=smoothing, accelerator=PLAIN
    )
    losses, *_ = CPOTrainer.cpo_loss(this, *of_rows(b, mean=kind == "simpo"))
    agree(ours.loss(b).value, losses.mean(), b.steps.logp["policy"])


def test_cpos_nll_is_a_mean_over_tokens() -> None:
    """TRL adds cross-entropy over the chosen labels, prompts left out: the mean over the batch's tokens."""
    b = batch(2)
    chosen = b.steps.mask[:PAIRS]
    nll = -b.steps.logp["policy"][:PAIRS][chosen].mean()
    whole, pair = cpo(0.3, 0.7).loss(b).value, cpo(0.3, 0.0).loss(b).value
    agree(whole, pair + 0.7 * nll, b.steps.logp["policy"])


def test_orpo_is_trls() -> None:
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer, log1mexp

    b = batch(3)
    losses, *_ = ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.1, accelerator=PLAIN), *of_rows(b, mean=True))
    agree(orpo(0.1).loss(b).value, sft("winner").loss(b).value - losses.mean(), b.steps.logp["policy"])
    z = -torch.logspace(-5, 3, 50)
    torch.testing.assert_close(log_odds(z, 1), z - log1mexp(z), rtol=1e-6, atol=1e-7)
    part = pairwise(mean_logprob(), logistic(), log_odds)
    agree(0.1 * part.loss(b).value, -losses.mean(), b.steps.logp["policy"])


class Speaks(nn.Module):
    """A model whose logits are a table [rows, WIDTH, WORDS]."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(rows, WIDTH, WORDS, generator=torch.Generator().manual_seed(7)))

    def forward(self, **_: Any) -> Any:
        return SimpleNamespace(logits=self.table)


@pytest.mark.parametrize(
    ("kind", "ours"), [("sigmoid", triple_po(0.3, 0.7, 0.1)), ("tpo-l", triple_po_l(2.0, 0.5, 0.7, 0.1))]
)
def test_triple_po_is_trls(kind: str, ours: Objective) -> None:
    from trl.experimental.tpo.tpo_trainer import TPOTrainer

    rows = 3 * PAIRS
    model, mask = Speaks(rows), completions(rows, 5)
    ids = torch.randint(WORDS, (rows, WIDTH), generator=torch.Generator().manual_seed(8))
    this = SimpleNamespace(
        model=model,
        accelerator=PLAIN,
        loss_type=kind,
        beta=0.3 if kind == "sigmoid" else 2.0,
        tpo_alpha=0.7,
        tpo_l_gamma=0.5,
        label_smoothing=0.1,
        _total_train_tokens=0,
        _tp_size=1,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask.long()}
    theirs = TPOTrainer._compute_loss(this, model, inputs, False)
    logp = model.table[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    at = torch.arange(rows).view(3, PAIRS).T  # TRL's rows are chosen, rejected, gold
    lists = Lists(at, torch.tensor([[2.0, 1.0, 3.0]]).expand(PAIRS, 3))
    agree(ours.loss(Batch(Steps(mask[:, 1:], {"policy": logp}), lists=lists)).value, theirs, model.table)


class Said(nn.Module):
    """A model whose log-probs, and log Σp², are tables."""

    is_gradient_checkpointing = False

    def __init__(self, table: Tensor, collision: Tensor) -> None:
        super().__init__()
        self.table, self.collision = nn.Parameter(table.detach().clone()), collision
        self.config = SimpleNamespace(model_type="said")

    def forward(self, input_ids: Tensor, labels: Tensor, **_: Any) -> Any:
        logp = torch.where((labels != -100)[:, 1:], self.table, 0.0)
        zeros = torch.zeros_like(logp)
        return SimpleNamespace(
            log_probs=logp,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
            log_sum_sq_probs=self.collision,
        )


def theirs_of(b: Batch, seed: int, **settings: Any) -> tuple[Tensor, Tensor]:
    """DPOTrainer's own loss of the same numbers, and the table it is differentiated by."""
    from trl.trainer.dpo_trainer import DPOTrainer

    policy, reference = (Said(b.steps.logp[n], b.steps.stats["collision"]) for n in ("policy", "reference"))
    given: dict[str, Any] = {
        "model": policy,
        "ref_model": reference,
        "accelerator": PLAIN,
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None),
        "aux_loss_enabled": False,
        "ld_alpha": None,
        "precompute_ref_logps": False,
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
        "loss_types": ["sigmoid"],
        "loss_weights": [1.0],
        "beta": 0.4,
        "label_smoothing": 0.0,
        "use_weighting": False,
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        **settings,
    }
    mask = completions(2 * PAIRS, seed)
    ids = torch.zeros(2 * PAIRS, WIDTH, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask.long()}
    return DPOTrainer._compute_loss(SimpleNamespace(**given), policy, inputs, False), policy.table


def compare(ours: Objective, b: Batch, seed: int, **settings: Any) -> None:
    theirs, table = theirs_of(b, seed, **settings)
    mine = ours.loss(b).value
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    slope, expected = torch.autograd.grad(mine, b.steps.logp["policy"])[0], torch.autograd.grad(theirs, table)[0]
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "coefficient", "ours"),
    [
        ("reverse_kl", 0.5, f_dpo(0.4, "reverse_kl")),
        ("forward_kl", 0.5, f_dpo(0.4, "forward_kl")),
        ("js_divergence", 0.5, f_dpo(0.4, "js")),
        ("alpha_divergence", 0.5, f_dpo(0.4, "alpha", 0.5)),
        ("alpha_divergence", 0.7, f_dpo(0.4, "alpha", 0.3)),  # TRL's coefficient is 1 − α
        ("alpha_divergence", 1.0, f_dpo(0.4, "alpha", 0.0)),
    ],
)
def test_f_dpo_is_trls(kind: str, coefficient: float, ours: Objective) -> None:
    compare(ours, batch(4), 4, f_divergence_type=kind, f_alpha_divergence_coef=coefficient)


def test_trls_forward_kl_overflows_where_ours_is_held() -> None:
    b = batch(4, scale=100.0)
    theirs, _ = theirs_of(b, 4, f_divergence_type="forward_kl")
    assert not math.isfinite(theirs.item())
    assert math.isfinite(f_dpo(0.4, "forward_kl").loss(b).value.item())


def test_wpo_is_trls_without_its_cut() -> None:
    b = batch(6)
    compare(wpo(0.4, most=math.inf), b, 6, use_weighting=True)
    cut, free = wpo(0.4).loss(b).value.item(), wpo(0.4, most=math.inf).loss(b).value.item()
    assert cut < free and dpo(0.4).loss(b).value.item() >= cut
