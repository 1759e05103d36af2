"""TGDPO (card 146) and LD-DPO (card 165) by hand."""

import math
from dataclasses import replace

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import dpo, ld_dpo, tgdpo

G = torch.Generator().manual_seed(0)


def batch(names: dict[str, list[list[float]]], mask: list[list[bool]] | None = None) -> Batch:
    """One pair, row 0 preferred; every table gets gradient."""
    logp = {name: torch.tensor(rows).requires_grad_() for name, rows in names.items()}
    live = torch.ones_like(logp["policy"], dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Batch(Steps(live, logp), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))


def value(objective, of: Batch) -> float:
    return objective.loss(of).value.item()


def gradient(objective, of: Batch, name: str = "policy") -> torch.Tensor | None:
    return torch.autograd.grad(objective.loss(of).value, of.steps.logp[name], allow_unused=True)[0]


def random_pairs(rows: int = 8, width: int = 6) -> Batch:
    """Pairs of rows of many lengths, with a gap in the middle of some."""
    lengths = torch.randint(1, width + 1, (rows,), generator=G)
    mask = torch.arange(width) < lengths[:, None]
    mask[::3, 1] = False
    names = ("policy", "reference", "guide")
    logp = {name: -torch.rand(rows, width, generator=G, dtype=torch.float64) for name in names}
    logp["policy"].requires_grad_()
    return Batch(Steps(mask, logp), pairs=Pairs(torch.arange(0, rows, 2), torch.arange(1, rows, 2)))


T1 = {"policy": [[-1.0], [-2.0]], "reference": [[-1.5], [-1.5]], "guide": [[-0.5], [-2.5]]}  # g = +1, −1


# --- TGDPO -----------------------------------------------------------------------------------------------------------


def test_tgdpo_by_hand() -> None:
    """Both weights are 1.05, so h = 0.1 · 1.05 · (0.5 + 0.5) = 0.105."""
    assert value(tgdpo(0.1, 0.5), batch(T1)) == pytest.approx(math.log1p(math.exp(-0.105)), abs=1e-7)
    assert value(tgdpo(0.1, 0.5), batch(T1)) == pytest.approx(0.642025, abs=1e-6)


def test_tgdpo_step_by_step() -> None:
    """Two steps against one: z_w = β Σ (1 + αβg)ρ, z_l = β Σ (1 − αβg)ρ, with β 0.5 and α 0.4."""
    of = batch(
        {
            "policy": [[-0.2, -1.0], [-0.7, float("nan")]],
            "reference": [[-0.6, -0.5], [-0.3, float("nan")]],
            "guide": [[-0.1, -1.5], [-1.3, float("nan")]],
        },
        [[True, True], [True, False]],
    )
    winner = 0.5 * ((1 + 0.2 * 0.5) * 0.4 + (1 + 0.2 * -1.0) * -0.5)
    loser = 0.5 * (1 - 0.2 * -1.0) * -0.4
    assert value(tgdpo(0.5, 0.4), of) == pytest.approx(math.log1p(math.exp(loser - winner)), abs=1e-6)


def test_tgdpo_without_guidance_is_dpo() -> None:
    of = random_pairs()
    assert value(tgdpo(0.1, alpha=0.0), of) == value(dpo(0.1), of)
    at_reference = of.with_steps(replace(of.steps, logp={**of.steps.logp, "guide": of.steps.logp["reference"]}))
    assert value(tgdpo(0.1, 0.5), at_reference) == value(dpo(0.1), at_reference)


def test_the_guide_carries_no_gradient() -> None:
    of = batch(T1)
    assert gradient(tgdpo(), of, "guide") is None
    assert gradient(tgdpo(), of, "reference") is None
    slope = 0.1 * 1.05 / (1 + math.exp(0.105))
    assert gradient(tgdpo(), of).flatten().tolist() == pytest.approx([-slope, slope], abs=1e-7)


def test_a_constant_added_to_the_guide_changes_weights() -> None:
    """DPO's prompt constant cancels between the sides. Here +1 on every g_t turns the weights 1.05 and 1.05 into 1.1
    and 1, which only log-ratios of equal size and opposite sign do not notice."""
    names = {**T1, "policy": [[-1.0], [-1.7]]}  # ρ = 0.5, −0.2
    for guide, weights in (([[-0.5], [-2.5]], (1.05, 1.05)), ([[0.5], [-1.5]], (1.1, 1.0))):
        h = 0.1 * (weights[0] * 0.5 + weights[1] * 0.2)
        found = value(tgdpo(), batch({**names, "guide": guide}))
        assert found == pytest.approx(math.log1p(math.exp(-h)), abs=1e-7)
    moved = batch({**T1, "guide": [[0.5], [-1.5]]})
    assert value(tgdpo(), moved) == pytest.approx(0.642025, abs=1e-6)
    assert gradient(tgdpo(), moved)[0, 0] / gradient(tgdpo(), batch(T1))[0, 0] == pytest.approx(1.1 / 1.05, abs=1e-5)


def test_clamped_weights_are_never_negative() -> None:
    """g_w = −30 makes the winner's weight 1 − 1.5 < 0: it would be pushed down; clamped it is left alone."""
    of = batch({**T1, "guide": [[-31.5], [-2.5]]})
    plain, held = gradient(tgdpo(), of), gradient(tgdpo(clamp=True), of)
    assert plain[0, 0] > 0 and held[0, 0] == 0 and held[1, 0] > 0
    assert value(tgdpo(clamp=True), batch(T1)) == value(tgdpo(), batch(T1))


# --- LD-DPO ----------------------------------------------------------------------------------------------------------

TAIL = {
    "policy": [[-0.75, -0.75, float("nan")], [-1.5, -1.0, -1.4]],
    "reference": [[-1.0, -1.0, float("nan")], [-1.0, -1.0, -1.0]],
}
LIVE = [[True, True, False], [True, True, True]]  # ρ_w = (.25, .25), ρ_l = (−.5, 0, −.4)


@pytest.mark.parametrize(("alpha", "h"), [(1.0, 0.5 + 0.9), (0.5, 0.5 + 0.7), (0.0, 0.5 + 0.5)])
def test_ld_dpo_by_hand(alpha: float, h: float) -> None:
    card = {1.0: 0.625595, 0.5: 0.634946, 0.0: 0.644397}[alpha]
    assert value(ld_dpo(0.1, alpha), batch(TAIL, LIVE)) == pytest.approx(math.log1p(math.exp(-0.1 * h)), abs=1e-6)
    assert value(ld_dpo(0.1, alpha), batch(TAIL, LIVE)) == pytest.approx(card, abs=1e-6)


def test_ld_dpo_with_alpha_one_is_dpo() -> None:
    of = random_pairs()
    assert value(ld_dpo(0.1, 1.0), of) == value(dpo(0.1), of)
    assert torch.equal(gradient(ld_dpo(0.1, 1.0), of), gradient(dpo(0.1), of))


def test_ld_dpo_of_equal_lengths_does_not_see_alpha() -> None:
    names = {n: (-torch.rand(2, 4, generator=G)).tolist() for n in ("policy", "reference")}
    assert len({value(ld_dpo(0.1, a), batch(names)) for a in (0.0, 0.3, 1.0)}) == 1


def test_ld_dpo_scales_the_gradient_of_the_tail() -> None:
    """Beside the pair's own slope σ(−βh), shared steps get β and the tail gets αβ; no mask, no reference gradient."""
    of = batch(TAIL, LIVE)
    found = gradient(ld_dpo(0.1, 0.5), of)
    slope = 0.1 / (1 + math.exp(0.1 * 1.2))
    assert found[0].tolist() == pytest.approx([-slope, -slope, 0.0], abs=1e-7)
    assert found[1].tolist() == pytest.approx([slope, slope, 0.5 * slope], abs=1e-7)
    assert gradient(ld_dpo(), of, "reference") is None


def test_shared_steps_are_counted_along_the_mask() -> None:
    """Left padding and a gap (tool output) move no step beyond the shared length."""
    moved = {
        name: [[9.0, rows[0][0], 9.0, rows[0][1], 9.0], [rows[1][0], 9.0, rows[1][1], 9.0, rows[1][2]]]
        for name, rows in TAIL.items()
    }
    live = [[False, True, False, True, False], [True, False, True, False, True]]
    assert value(ld_dpo(0.1, 0.5), batch(moved, live)) == pytest.approx(0.634946, abs=1e-6)


def test_a_row_of_two_pairs_has_a_shared_length_in_each() -> None:
    """Row 0 (3 steps) meets a row of one step and a row of two."""
    policy = torch.tensor([[0.3, 0.2, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    steps = Steps(mask, {"policy": policy, "reference": torch.zeros_like(policy)})
    of = Batch(steps, pairs=Pairs(torch.tensor([0, 0]), torch.tensor([1, 2])))
    expected = [math.log1p(math.exp(-z)) for z in (0.3 + 0.5 * 0.3, 0.5 + 0.5 * 0.1)]
    assert value(ld_dpo(1.0, 0.5), of) == pytest.approx(sum(expected) / 2, abs=1e-9)
