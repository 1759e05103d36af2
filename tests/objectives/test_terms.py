"""Terms: global denominators, early refusals, names, and losses that do not depend on the split."""

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError, NeedsError
from guerdon.objectives import (
    Objective,
    Term,
    clipped,
    dpo,
    entropy_bonus,
    expectation,
    ipo_mean,
    ipo_sum,
    kl_penalty,
    reinforce,
    sequence_mean,
    sequence_sum,
    sft,
    simpo,
    token_mean,
    value_loss,
)


def ragged(seed: int = 0, rows: int = 8, width: int = 6) -> Batch:
    """Rows of unequal length, pairs between neighbours, NaN under the mask."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (rows,), generator=g)
    mask = torch.arange(width)[None] < lengths[:, None]

    def draw() -> torch.Tensor:
        return torch.where(mask, -torch.rand(rows, width, generator=g), torch.nan)

    logp = {name: draw() for name in ("reference", "old")} | {"policy": draw().requires_grad_()}
    stats = {
        "entropy": -draw(),
        "value:total": draw().requires_grad_(),
        "old_value:total": draw(),
        "kl:reference": -draw(),
    }
    pairs = Pairs(torch.arange(0, rows, 2), torch.arange(1, rows, 2), weight=torch.rand(rows // 2, generator=g))
    both = {"total": draw() + 0.5}
    return Batch(Steps(mask, logp, stats), pairs=pairs, rows={"chosen": pairs.winner}, advantages=both, returns=both)


OBJECTIVES = {
    "dpo": dpo(0.1, smoothing=0.1),
    "ipo_sum": ipo_sum(),
    "ipo_mean": ipo_mean(),
    "simpo": simpo(),
    "sft": sft(),
    "expectation": expectation(1.0, "chosen", "average"),
    "reinforce": reinforce(),
    "clipped": clipped(0.05, 0.1, dual=3.0, reduction=sequence_mean()),
    "gspo": clipped(0.05, level="sequence", reduction=sequence_sum(6)),
    "kl": kl_penalty("k3"),
    "kl_full": kl_penalty("full"),
    "entropy": entropy_bonus(),
    "value": value_loss(clip=0.1),
    "sum": dpo(0.1) + 0.3 * sft("winner") + 0.1 * kl_penalty("k2"),
}


def gradient(objective: Objective, parts: list[Batch], leaf: torch.Tensor) -> tuple[float, torch.Tensor]:
    stats, denominators = objective.couple(parts), objective.denominators(parts)
    value = torch.stack([objective.loss(p, denominators, stats).value for p in parts]).sum()
    found = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
    return value.item(), torch.zeros_like(leaf) if found is None else found


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("leaf", ["policy", "value:total"])
def test_neither_value_nor_gradient_depends_on_the_split(name, leaf):
    """TRL d14f7f3eb, 6f99f42f7, 8e65825d4, 40c238395; prime-rl 1d9ca9255; verl 3671d37fe: five trainers mis-scaled at
    once."""
    objective, whole = OBJECTIVES[name], ragged()
    tensor = {**whole.steps.logp, **whole.steps.stats}[leaf]
    one = gradient(objective, [whole], tensor)
    for parts in (2, 3, 4):
        several = gradient(objective, list(whole.split(parts)), tensor)
        assert several[0] == pytest.approx(one[0], rel=5e-7, abs=1e-6)  # sums in another order: a few float32 ulps
        assert torch.allclose(several[1], one[1], atol=2e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_stands_under_the_mask_changes_nothing(name):
    clean, mask = ragged(), ragged().steps.mask

    def filled(x: torch.Tensor, fill: float) -> torch.Tensor:
        return torch.where(mask, x.detach(), torch.tensor(fill))

    results = []
    for fill in (0.0, float("nan"), 1e9):
        logp = {k: filled(v, fill).requires_grad_() for k, v in clean.steps.logp.items()}
        stats = {k: filled(v, fill) for k, v in clean.steps.stats.items()}
        both = {k: filled(v, fill) for k, v in clean.advantages.items()}
        batch = Batch(Steps(mask, logp, stats), pairs=clean.pairs, rows=clean.rows, advantages=both, returns=both)
        value = OBJECTIVES[name].loss(batch).value
        found = torch.autograd.grad(value, logp["policy"], allow_unused=True)[0] if value.requires_grad else None
        results.append((value.item(), None if found is None else torch.where(mask, found, 0.0), found))
    assert results[0][0] == results[1][0] == results[2][0]
    for _, inside, everywhere in results[1:]:
        assert inside is None or torch.equal(inside, results[0][1])
        assert everywhere is None or bool((everywhere[~mask] == 0).all())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_finite_differences(name):
    batch = ragged(3, rows=4, width=3)
    mask = batch.steps.mask
    logp = {k: torch.where(mask, v, 0.0).detach().double() for k, v in batch.steps.logp.items()}
    stats = {k: torch.where(mask, v, 0.0).detach().double() for k, v in batch.steps.stats.items()}
    both = {k: v.double() for k, v in batch.advantages.items()}

    def loss(policy: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        steps = Steps(mask, {**logp, "policy": policy}, {**stats, "value:total": value})
        return (
            OBJECTIVES[name].loss(Batch(steps, pairs=batch.pairs, rows=batch.rows, advantages=both, returns=both)).value
        )

    inputs = (logp["policy"].requires_grad_(), stats["value:total"].requires_grad_())
    live = loss(*inputs)
    if live.requires_grad:
        assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6)


def test_an_empty_term_is_exactly_zero():
    steps = Steps(torch.zeros(2, 3, dtype=torch.bool), {"policy": torch.full((2, 3), torch.nan).requires_grad_()})
    loss = sft().loss(Batch(steps)).value
    (found,) = torch.autograd.grad(loss, steps.logp["policy"])
    assert loss.item() == 0.0 and bool((found == 0).all())


def test_parts_are_numbers_to_read():
    loss = (dpo(0.1) + 0.3 * sft("winner")).loss(ragged())
    assert loss.value.requires_grad and not any(part.requires_grad for part in loss.parts.values())
    assert loss.value.item() == pytest.approx(sum(part.item() for part in loss.parts.values()), abs=1e-6)


def test_a_missing_need_is_one_sentence():
    batch = Batch(Steps(torch.ones(2, 1, dtype=torch.bool), {"policy": torch.zeros(2, 1)}))
    with pytest.raises(NeedsError, match=r"needs 'pairs'"):
        dpo().loss(batch)


def test_needs_tell_the_forward_passes():
    objective = clipped() + kl_penalty("full") + entropy_bonus()
    assert objective.logps() == ("policy", "old")
    assert objective.stats() == ("kl:reference", "entropy")
    assert simpo().logps() == ("policy",)  # no reference model is called


def test_names_are_numbered_and_coefficients_multiply():
    objective = 2.0 * (sft() + 0.5 * sft("winner"))
    assert [(t.name, t.coefficient) for t in objective.terms] == [("sft", 2.0), ("sft.2", 1.0)]


def test_unit_and_weight_must_agree():
    wrong = Objective((Term("wrong", (), lambda b, s: torch.zeros(3), lambda b: torch.ones(2)),))
    with pytest.raises(GuerdonError, match=r"'wrong'.*\[3\] and \[2\]"):
        wrong.loss(ragged())


def test_reductions_by_hand():
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, torch.nan, torch.nan]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    expected = {
        "token_mean": (10 / 4, 4.0),
        "sequence_mean": ((2 + 4) / 2, 2.0),
        "sequence_sum": ((6 + 4) / 3 / 2, 2.0),
    }
    for cut in (token_mean(), sequence_mean(), sequence_sum(3)):
        units, weight = cut.units(x, mask), cut.weight(mask)
        mean, denominator = expected[cut.name]
        assert weight.sum().item() == denominator
        assert ((units * weight).sum() / weight.sum()).item() == pytest.approx(mean, abs=1e-6)
