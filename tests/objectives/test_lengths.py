"""R-DPO and SamPO (card 144): what length is charged, and which steps are compared."""

import math
from dataclasses import replace

import pytest
import torch

from guerdon.batch import Batch, Pairs, Seed, Steps
from guerdon.objectives import Objective, dpo, r_dpo, sampo
from guerdon.objectives.lengths import shared_length
from guerdon.training.recipe import ROW
from tests.objectives.test_losses import pair, value

G = torch.Generator().manual_seed(0)


def many(rows: int = 40, width: int = 9) -> Batch:
    """Pairs of rows of many lengths; float64."""
    lengths = torch.randint(1, width + 1, (rows,), generator=G)
    mask = torch.arange(width) < lengths[:, None]
    logp = {n: -torch.rand(rows, width, generator=G, dtype=torch.float64) for n in ("policy", "reference")}
    logp["policy"].requires_grad_()
    pairs = Pairs(torch.arange(0, rows, 2), torch.arange(1, rows, 2))
    return Batch(Steps(mask, logp), pairs=pairs, columns={ROW: torch.arange(100, 100 + rows)})


def read(objective: Objective, batch: Batch) -> torch.Tensor:
    """bool [N,T]: the steps that have gradient."""
    (slope,) = torch.autograd.grad(objective.loss(batch).value, batch.steps.logp["policy"])
    return slope != 0


def test_r_dpo_by_hand() -> None:
    """h = 1, lengths 2 and 4: −log σ(0.1·1 + 0.01·2 − 0.01·4)."""
    batch = pair([-1.0, -2.0], [-1.5, -1.5], lengths=(2, 4))
    assert value(r_dpo(0.1, 0.01), batch) == pytest.approx(math.log1p(math.exp(-0.08)), abs=1e-6)
    assert value(r_dpo(0.1, 0.0), batch) == pytest.approx(value(dpo(0.1), batch), abs=1e-7)


def test_r_dpo_teaches_less_where_the_winner_is_longer() -> None:
    """A long winner is partly explained by its length, so its loss and gradient are smaller than DPO's."""
    for lengths, smaller in (((6, 2), True), ((2, 6), False)):
        batch = pair([-1.0, -2.0], [-1.5, -1.5], lengths=lengths)
        assert (value(r_dpo(0.1, 0.05), batch) < value(dpo(0.1), batch)) == smaller


def test_sampo_compares_equally_many_steps() -> None:
    batch = many()
    used = read(sampo(), batch)
    count = used.sum(-1)
    shared = shared_length(batch, batch.pairs)
    assert torch.equal(count[batch.pairs.winner], shared) and torch.equal(count[batch.pairs.loser], shared)
    assert not bool((used & ~batch.steps.mask).any())


def test_sampo_by_hand() -> None:
    """One step of ρ = −1 + 2 = 1 against one of three of ρ = −2 + 1.5 = −½, whichever it is: h = 1.5, and
    −log σ(0.15) = 0.620957. The reference is never trained."""
    mask = torch.tensor([[True, False, False], [True, True, True]])
    logp = {"policy": torch.tensor([[-1.0] * 3, [-2.0] * 3]), "reference": torch.tensor([[-2.0] * 3, [-1.5] * 3])}
    logp["reference"].requires_grad_()
    batch = Batch(Steps(mask, logp), pairs=Pairs(torch.tensor([0]), torch.tensor([1])), columns={ROW: [0, 1]})
    loss = sampo(0.1).loss(batch).value
    assert loss.item() == pytest.approx(0.620957, abs=1e-6) and not loss.requires_grad


def test_sampo_of_equal_lengths_is_dpo() -> None:
    batch = replace(pair([-1.0, -2.0], [-1.5, -1.5], lengths=(3, 3)), columns={ROW: [4, 9]})
    assert value(sampo(0.1), batch) == pytest.approx(value(dpo(0.1), batch), abs=1e-7)


def test_sampo_is_one_draw_however_it_is_cut() -> None:
    """Micro-batches, the order of rows and padding on either side change nothing; another seed or row does."""
    batch, objective = many(), sampo(seed=Seed(3))
    whole = objective.loss(batch).value
    parts = batch.split(7)
    assert len(parts) == 7
    denominators = objective.denominators(parts)
    shares = [objective.loss(p, denominators, objective.couple(parts)).value for p in parts]
    torch.testing.assert_close(torch.stack(shares).sum(), whole, rtol=1e-12, atol=0)
    turned = batch.take(torch.arange(len(batch)).flip(0))
    torch.testing.assert_close(objective.loss(turned).value, whole, rtol=1e-12, atol=0)
    wide = Steps(
        torch.nn.functional.pad(batch.steps.mask, (2, 3)),
        {k: torch.nn.functional.pad(x, (2, 3), value=math.nan) for k, x in batch.steps.logp.items()},
    )
    torch.testing.assert_close(objective.loss(batch.with_steps(wide)).value, whole, rtol=1e-12, atol=0)
    assert sampo(seed=Seed(4)).loss(batch).value != whole
    renumbered = replace(batch, columns={ROW: torch.arange(len(batch))})
    assert objective.loss(renumbered).value != whole


def test_sampo_draws_every_step_alike() -> None:
    """Over seeds each of 6 steps is used T_min/6 = ⅓ of the time (400 draws: three standard errors are 0.071)."""
    mask = torch.tensor([[True, True, False, False, False, False], [True] * 6])
    logp = {"policy": torch.zeros(2, 6).requires_grad_(), "reference": torch.zeros(2, 6)}
    batch = Batch(Steps(mask, logp), pairs=Pairs(torch.tensor([0]), torch.tensor([1])), columns={ROW: [0, 1]})
    share = torch.stack([read(sampo(seed=Seed(s)), batch)[1].float() for s in range(400)]).mean(0)
    assert share.sum().item() == pytest.approx(2.0, abs=1e-5)
    assert (share - 1 / 3).abs().max() < 0.08


def test_row_is_the_loops_column() -> None:
    from guerdon.objectives import lengths

    assert lengths.ROW == ROW
