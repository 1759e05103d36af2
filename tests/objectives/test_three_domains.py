"""DPO, TGDPO and KTO on tokens, on probes of a denoiser and on actions alike: one objective, three worlds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Pairs, Predictions, Samples, Seed, Steps
from guerdon.objectives import Objective, dpo, kto, tgdpo
from guerdon.training import Optim, Recipe, Recorded, run
from guerdon.worlds import Frozen, Sampling, Snapshots
from guerdon.worlds.diffusion import probes
from guerdon.worlds.finite import TabularPolicy
from guerdon.worlds.tabular import TabularWorld, random_mdps
from guerdon.worlds.text import TextWorld
from tests.worlds.denoisers import FLOW, policy, world
from tests.worlds.tiny import tiny

N = 8
PAIRS = Pairs(torch.arange(N), torch.arange(N, 2 * N))


@dataclass(frozen=True)
class Domain:
    """3N rows: the preferred, the dispreferred, and rows that KTO's reference point is read from. fresh: a new policy
    with its 'reference'. probe: what a denoiser is asked at."""

    world: Any
    fresh: Callable[[], Snapshots]
    samples: Samples
    lr: float
    probe: Callable[[Samples, Seed], Any] | None = None


def tokens() -> Domain:
    """Responses that say w5 … w9 against such that say w20 … w24, each to a prompt of its own; mismatched ones answer
    the next prompt."""
    model = tiny("llama")
    at = TextWorld(model)
    prompts = [[1, 10 + i] for i in range(N)]
    good = [[5 + i % 5, 6, 3] for i in range(N)]
    bad = [[20 + i % 5, 21, 22, 3] for i in range(N)]
    samples = at.recorded([*prompts, *prompts, *prompts], [*good, *bad, *good[1:], good[0]])
    return Domain(at, lambda: Snapshots(tiny("llama"), reference=Frozen()), samples, 3e-3)


def denoising() -> Domain:
    """Points to the right against points to the left of one label; both of a pair see the same (t, ε)."""
    at = world()
    g = torch.Generator().manual_seed(0)
    right = torch.randn(N, 2, generator=g) + torch.tensor([2.0, 0.0])
    samples = at.recorded([0] * 2 * N + [1] * N, torch.cat([right, right - torch.tensor([4.0, 0.0]), right]))
    pair = [*range(N), *range(N), *range(N, 2 * N)]
    return Domain(at, policy, samples.with_columns(pair=pair), 1e-2, probes(FLOW, 16, by="pair"))


def actions() -> Domain:
    """The better of two episodes of an MDP against the worse; further episodes for the reference point."""
    mdp = random_mdps(Seed(0), None, 6, 3, 0.9, terminals=1)
    at = TabularWorld(mdp)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))

    def fresh() -> Snapshots:
        return Snapshots(TabularPolicy(logits), reference=Frozen())

    drawn = at.sample(fresh(), ["initial"], 3 * N, Sampling(limit=6), Seed(2))
    value = drawn.payload.returns()
    first, second = torch.arange(N), torch.arange(N, 2 * N)
    better = value[first] > value[second]
    order = torch.cat([torch.where(better, first, second), torch.where(better, second, first), second + N])
    return Domain(at, fresh, drawn.take(order), 0.05)


DOMAINS = {"tokens": tokens, "denoising": denoising, "actions": actions}


def trained(domain: Domain, objective: Objective, guide: dict[str, Tensor] | None = None) -> Snapshots:
    """Six updates on all rows at once."""
    snapshots = domain.fresh()
    if guide is not None:
        snapshots.add("guide", Frozen())
        snapshots.put("guide", guide)
    kept = domain.samples
    if objective.terms[0].name == "kto":
        third = [torch.arange(i * N, (i + 1) * N) for i in range(3)]
        rows = dict(zip(("desirable", "undesirable", "mismatched"), third, strict=True))
        source = Recorded(kept, 3 * N, rows=rows, seed=None)
    else:
        source = Recorded(kept.take(torch.arange(2 * N)), N, PAIRS, seed=None)
    run(Recipe(domain.world, snapshots, source, objective, Optim(lr=domain.lr, kind="adam"), 6, probe=domain.probe))
    return snapshots


def evidence(domain: Domain, snapshots: Snapshots) -> Steps:
    """What policy and reference say of all rows, at probes that training did not see."""
    names = ("policy", "reference")
    probe = None if domain.probe is None else domain.probe(domain.samples, Seed(99))
    with torch.no_grad():
        found = domain.world.rescore(snapshots, domain.samples, names, probe=probe)
    return found.as_steps() if isinstance(found, Predictions) else found


@pytest.mark.parametrize("method", ["dpo", "tgdpo", "kto"])
@pytest.mark.parametrize("name", DOMAINS)
def test_the_preferred_side_gains(name: str, method: str) -> None:
    domain = DOMAINS[name]()
    if method == "tgdpo":
        guide = dict(trained(domain, dpo(0.5)).module.named_parameters())
        snapshots = trained(domain, tgdpo(0.5, 0.5), guide)
        assert not torch.equal(next(iter(snapshots.parameters("guide").values())), next(snapshots.module.parameters()))
    else:
        snapshots = trained(domain, dpo(0.5) if method == "dpo" else kto(0.5))
    steps = evidence(domain, snapshots)
    assert steps.mask.shape == steps.logp["policy"].shape and bool(steps.mask.any(-1).all())
    gain = steps.log_ratio().sum(-1)
    margin = gain[:N] - gain[N : 2 * N]
    assert float(margin.mean()) > 0.1
    assert float((margin > 0).float().mean()) >= 0.75


@pytest.mark.parametrize("name", DOMAINS)
def test_the_guide_says_where_tgdpo_differs_from_dpo(name: str) -> None:
    """At the reference itself TGDPO is DPO, bit for bit, in every domain; a trained guide makes it another loss."""
    domain = DOMAINS[name]()
    start = dict(domain.fresh().module.named_parameters())
    plain, unguided = trained(domain, dpo(0.5)), trained(domain, tgdpo(0.5, 0.5), start)
    guided = trained(domain, tgdpo(0.5, 0.5), dict(plain.module.named_parameters()))
    for a, b in zip(plain.module.parameters(), unguided.module.parameters(), strict=True):
        assert torch.equal(a, b)
    pairs = zip(plain.module.parameters(), guided.module.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
