"""SRPO (card 149): hand values, soft labels, and the closed-form solutions on a random game."""

import pytest
import torch

from guerdon.batch import Batch, Lists, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import srpo
from guerdon.objectives.srpo import ROLES

Y, BETA = 5, 0.7


def batch(ratios: torch.Tensor, lists: Lists) -> Batch:
    """Rows with these log-ratios [N]."""
    steps = Steps(
        torch.ones(len(ratios), 1, dtype=torch.bool),
        {"policy": ratios[:, None].clone().requires_grad_(), "reference": torch.zeros(len(ratios), 1)},
    )
    return Batch(steps, lists=lists)


def roles(**values: float) -> torch.Tensor:
    names = {"w": "w", "l": "l", "wl": "w|l", "ll": "l|l", "ww": "w|w", "lw": "l|w"}
    known = {names[k]: v for k, v in values.items()}
    return torch.tensor([known.get(name, 0.0) for name in ROLES])


SIX = Lists(torch.arange(6)[None])
CARD = roles(wl=0.6, ll=-0.2, lw=-0.1, w=0.4, l=-0.2)


def test_card_values():
    only_generator = srpo(0.5, 0.0).loss(batch(CARD, SIX)).value.item()
    only_improver = srpo(0.5, 1.0).loss(batch(CARD, SIX)).value.item()
    assert only_generator == pytest.approx(0.030625, abs=1e-7)
    assert only_improver == pytest.approx(0.01 + 0.2025, abs=1e-7)
    assert srpo(0.5, 0.25).loss(batch(CARD, SIX)).value.item() == pytest.approx(
        0.75 * 0.030625 + 0.25 * 0.2125, abs=1e-7
    )


def test_a_soft_label_moves_the_target():
    soft = Lists(SIX.rows, torch.tensor([[0.8, 0.2, 0.8, 0.2, 0.8, 0.2]]))
    assert srpo(0.5, 0.0).loss(batch(CARD, soft)).value.item() == pytest.approx((0.3 - 0.325) ** 2, abs=1e-7)
    assert srpo(0.5, 1.0).loss(batch(0 * CARD, soft)).value.item() == pytest.approx(2 * 0.09, abs=1e-7)
    hard = Lists(SIX.rows, torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]]))
    assert srpo().loss(batch(CARD, hard)).value.item() == srpo().loss(batch(CARD, SIX)).value.item()


def test_metrics_by_hand():
    found = srpo().loss(batch(CARD, SIX)).metrics
    assert {k: round((a / b).item(), 6) for k, (a, b) in found.items()} == {
        "generator/accuracy": 1.0,
        "generator/margin": 0.6,
        "improver/accuracy": 1.0,
        "improver/margin": 0.45,
    }


def test_ties_count_half_and_defaults_are_named():
    found = srpo().loss(batch(0 * CARD, SIX)).metrics
    assert {k: (a / b).item() for k, (a, b) in found.items() if k.endswith("accuracy")} == {
        "generator/accuracy": 0.5,
        "improver/accuracy": 0.5,
    }
    worse = srpo().loss(batch(-CARD, SIX)).metrics["generator/accuracy"]
    assert worse[0].item() == 0.0
    # β = 0.05, α = ½: ½(½ − 0.025·1.3)² + ½[(½ − 0.05·0.8)² + (½ − 0.05·0.1)²]
    expected = 0.5 * (0.5 - 0.0325) ** 2 + 0.5 * ((0.5 - 0.04) ** 2 + (0.5 - 0.005) ** 2)
    assert srpo().loss(batch(CARD, SIX)).value.item() == pytest.approx(expected, abs=1e-7)


def test_lists_of_another_width_are_refused():
    with pytest.raises(GuerdonError, match="six rows w, l"):
        srpo().loss(batch(torch.zeros(4), Lists(torch.arange(4)[None])))


def game(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random preference matrix [Y,Y], and references: answers [Y], rewritings [Y,Y] (row: the old answer)."""
    g = torch.Generator().manual_seed(seed)
    upper = torch.rand(Y, Y, generator=g, dtype=torch.float64).triu(1)
    p = upper + (1 - upper.T).tril(-1) + 0.5 * torch.eye(Y, dtype=torch.float64)
    answer = torch.randn(Y, generator=g, dtype=torch.float64).log_softmax(-1)
    return p, answer, torch.randn(Y, Y, generator=g, dtype=torch.float64).log_softmax(-1)


def solution(
    p: torch.Tensor, answer: torch.Tensor, rewrite: torch.Tensor, beta: float = BETA
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log π* [Y], log π†* [Y,Y]): p[a,b] is P(a ≻ b), row b of π† rewrites b."""
    improved = (rewrite + p.T / beta).log_softmax(-1)
    return (answer + (improved - rewrite).diagonal()).log_softmax(-1), improved


def every_pair(p: torch.Tensor, rho: torch.Tensor, rho_rewrite: torch.Tensor) -> Batch:
    """All ordered pairs with their exact soft labels, as lists of six."""
    rows, labels = [], []
    for w in range(Y):
        for l in range(Y):
            if w != l:
                r = rho_rewrite
                rows.append(torch.stack([rho[w], rho[l], r[l, w], r[l, l], r[w, w], r[w, l]]))
                labels.append(torch.stack([p[w, l], p[l, w]] * 3))
    lists = Lists(torch.arange(6 * len(rows)).view(-1, 6), torch.stack(labels))
    return batch(torch.cat(rows), lists)


def test_both_identities_hold_at_the_closed_forms():
    p, answer, rewrite = game()
    best, improved = solution(p, answer, rewrite)
    rho, rho_r = best - answer, improved - rewrite
    gap = rho_r - rho_r.diagonal()[:, None]  # [old, new]: ρ(new|old) − ρ(old|old)
    torch.testing.assert_close(0.5 + BETA * gap, p.T)
    both = rho_r.T - rho_r + rho[:, None] - rho[None]  # [new, old]
    torch.testing.assert_close(0.5 + BETA / 2 * both, p)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_losses_vanish_at_the_closed_forms(alpha):
    p, answer, rewrite = game(1)
    best, improved = solution(p, answer, rewrite)
    whole = every_pair(p, best - answer, improved - rewrite)
    assert srpo(BETA, alpha).loss(whole).value.item() < 1e-28
    assert srpo(BETA, alpha).loss(every_pair(p, 0 * best, 0 * improved)).value.item() > 1e-3


def test_the_answer_minimises_what_an_improver_can_gain():
    """π* minimises E_π[β log Z(y)] + β·KL(π‖π_ref): the gradient in the logits vanishes there, and nowhere near."""
    p, answer, rewrite = game(2)
    best, _ = solution(p, answer, rewrite)
    partition = BETA * (rewrite + (p.T - 0.5) / BETA).logsumexp(-1)

    def slope(logits: torch.Tensor) -> float:
        free = logits.clone().requires_grad_()
        law = free.log_softmax(-1)
        cost = (law.exp() * (partition + BETA * (law - answer))).sum()
        return torch.autograd.grad(cost, free)[0].abs().max().item()

    assert slope(best) < 1e-12
    assert slope(answer) > 1e-3
