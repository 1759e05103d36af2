"""What online methods find in bandits whose best arm the reference hardly plays: regret, and gold over KL."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon.batch import Seed
from guerdon.divergences import reverse_kl
from guerdon.lab.finite import Finite
from guerdon.lab.finite_online import TableReward
from guerdon.lab.frontier import frontier_metrics
from guerdon.objectives import dpo
from guerdon.training.builds import best_worst
from guerdon.training.methods import find
from guerdon.training.optim import Optim
from guerdon.training.recipe import Every, Recipe, Round
from guerdon.training.run import run
from guerdon.training.sources import Prompts
from guerdon.worlds import Snapshots, only
from guerdon.worlds.finite import FiniteWorld, LinearPolicy, TabularPolicy, exact

BANDITS, ARMS, MISSING = 32, 20, 2.0


def bandits(seed: Seed) -> Finite:
    """32 bandits of 20 arms with standard normal gold; the reference gives the best arm 2 nats less than its taste."""
    g = seed.child("bandits").torch()
    gold = torch.randn(BANDITS, ARMS, generator=g)
    taste = 0.5 * torch.randn(BANDITS, ARMS, generator=g)
    taste[torch.arange(BANDITS), gold.argmax(-1)] -= MISSING
    return Finite(torch.zeros(BANDITS, ARMS, 1), gold, taste.log_softmax(-1))


def online(
    method: str, bed: Finite, hyper: Mapping[str, Any], optim: Optim, rounds: int, seed: Seed, plain: int = 0
) -> Recipe:
    """``method`` by its preset with gold as the judge, every prompt once a round; a free policy where the testbed has
    one feature, else one linear in the features.

    plain: so many rows a prompt in the same loop without its bonus, which is iterative DPO with the method's own
    reference; 0 for the method itself.
    """
    preset = find(method)
    rules = preset.called(preset.rules, preset.settings({}), rounds)
    free = bed.features.shape[-1] == 1
    policy = TabularPolicy(bed.reference) if free else LinearPolicy(bed.features, base=bed.reference)
    made = preset.recipe(
        FiniteWorld(),
        Snapshots(policy, **rules),
        Prompts(list(range(len(bed.gold))), len(bed.gold), None),
        rounds,
        hyper,
        reward=TableReward(bed.gold, "gold", ("gold",)),
        optim=optim,
        seed=seed.child("online"),
    )
    return made.with_(objective=dpo(hyper["beta"]), build=best_worst(), beside={}, per_start=plain) if plain else made


def found(bed: Finite, recipe: Recipe, limit: float) -> Mapping[str, float]:
    """Run it and read the exact law after every round.

    regret: best gold minus the policy's, mean over rounds and bandits. area: mean gold over KL to the start in [0,
    limit] nats. best: probability of the best arm at the end; 'gold last', 'kl last'.
    """
    seen: list[tuple[float, float]] = []
    top = bed.gold.max(-1).values.mean()
    law = bed.reference

    def look(here: Round) -> Mapping[str, float]:
        nonlocal law
        with torch.no_grad(), only(here.snapshots).using("policy") as module:
            law = module().log_softmax(-1)
        kl = float(reverse_kl(law, bed.reference).mean())
        seen.append((max(0.0, kl), float(exact.expected(law, bed.gold).mean())))
        return {}

    run(recipe.with_(evals=(Every(1, look),)))
    at = bed.gold.argmax(-1, keepdim=True)
    return {
        **frontier_metrics(seen, bed.start, limit),
        "regret": float(top) - sum(g for _, g in seen) / len(seen),
        "best": float(law.gather(-1, at).exp().mean()),
        "gold last": seen[-1][1],
        "kl last": seen[-1][0],
        "start": bed.start,
    }
