"""text/gold from a seed: policy, pairs, proxies; built in seconds and kept by content hash."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.batch import Pairs, Samples, Seed, Steps, TokenRows
from guerdon.lab import cache
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.demonstrations import demonstrations
from guerdon.lab.text_gold.pairs import Annotator, GoldPairs, compare
from guerdon.lab.text_gold.policy import SAMPLING, fresh_policy, text_world, warm_start
from guerdon.lab.text_gold.proxy import Proxy, fit_proxy, proxy_model, standardised
from guerdon.reduce import total
from guerdon.rewards.models import ScalarRewardModel
from guerdon.worlds import Actors, Frozen, Snapshots, World
from guerdon.worlds.text import TextWorld

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

SOURCES = ("guerdon.lab.text_gold", *cache.SOURCES)


@dataclass(frozen=True)
class Condition:
    """How a testbed is made. from_policy: proxies start from the policy's weights (else from their own random ones)."""

    annotator: Annotator = field(default_factory=Annotator)
    from_policy: bool = False
    members: int = 1
    demonstrations: int = 4000
    warm_up_steps: int = 400


MILD = Condition(Annotator(pairs=500, flips=0.0), from_policy=True)
"""Condition A of the measurements: few clean pairs, proxies that start from the policy."""
HARSH = Condition(Annotator(pairs=2000, flips=0.25), from_policy=False)
"""Condition B: many noisy pairs, proxies of their own; raw optimisation collapses in every seed."""


@dataclass(frozen=True)
class Bed:
    """One seed's testbed. start: the warm-started weights; ``fresh()`` gives a policy to train."""

    seed: Seed
    condition: Condition
    start: Mapping[str, Tensor]
    pairs: GoldPairs
    proxy: Proxy

    def fresh(self) -> tuple[TextWorld, Snapshots]:
        """A world and the start policy with its frozen 'reference'."""
        model = _with(fresh_policy(self.seed), self.start)
        return text_world(model), Snapshots(model, reference=Frozen())


def _with(model: "LlamaForCausalLM", weights: Mapping[str, Tensor]) -> "LlamaForCausalLM":
    model.load_state_dict(dict(weights))
    return model


def _warm(seed: Seed, condition: Condition) -> dict[str, Tensor]:
    model = fresh_policy(seed)
    shown = demonstrations(condition.demonstrations, seed.child("demonstrations"))
    warm_start(model, shown, seed, condition.warm_up_steps)
    return dict(model.state_dict())


def _pair_tensors(pairs: GoldPairs) -> dict[str, Tensor]:
    rows = words.rows_of(pairs.samples)
    return {
        "ids": rows.ids,
        "attention": rows.attention,
        "response": rows.response,
        "winner": pairs.pairs.winner,
        "loser": pairs.pairs.loser,
        "gold": pairs.gold,
        "flipped": pairs.flipped,
    }


def _pairs_of(kept: Mapping[str, Tensor], world: TextWorld) -> GoldPairs:
    rows = TokenRows(kept["ids"], kept["attention"], kept["response"])
    prompts = world.tokenizer.batch_decode(
        [i[a & ~r] for i, a, r in zip(rows.ids, rows.attention, rows.response, strict=True)], skip_special_tokens=True
    )
    over = (torch.where(rows.response, rows.ids, words.PAD) == words.EOS).any(1)
    samples = Samples(rows, prompts, world.decode(rows), terminated=over, truncated=~over)
    return GoldPairs(samples, Pairs(kept["winner"], kept["loser"]), kept["gold"], kept["flipped"])


def build(seed: int, condition: Condition = HARSH, folder: Path | None = None) -> Bed:
    """The testbed of one seed under one condition; what was built before with equal settings is read back.

    ``folder``: where built tensors are kept (default: the user's cache folder).
    """
    root = Seed(seed).child("text_gold")
    about: dict[str, Any] = {
        "seed": seed,
        "demonstrations": condition.demonstrations,
        "steps": condition.warm_up_steps,
    }
    start = cache.kept("policy", about, lambda: _warm(root, condition), SOURCES, folder)
    model = _with(fresh_policy(root), start)
    world, snapshots = text_world(model), Snapshots(model)
    about["annotator"] = asdict(condition.annotator)
    made = cache.kept(
        "pairs", about, lambda: _pair_tensors(compare(world, snapshots, condition.annotator, root)), SOURCES, folder
    )
    pairs = _pairs_of(made, world)
    models = []
    for k in range(condition.members):
        key = root.child("member", k)
        init = model if condition.from_policy else None
        fitted = cache.kept(
            "proxy",
            {**about, "from_policy": condition.from_policy, "member": k},
            lambda key=key, init=init: dict(fit_proxy(pairs, key, init).state_dict()),  # type: ignore[misc]
            SOURCES,
            folder,
        )
        models.append(_proxy_with(key, init, fitted))
    probe = [p for p in words.TRAINING for _ in range(8)]
    typical = world.sample(snapshots, probe, 1, SAMPLING, root.child("standardise"))
    return Bed(root, condition, start, pairs, standardised(models, words.rows_of(typical)))


def _proxy_with(key: Seed, init: "LlamaForCausalLM | None", weights: Mapping[str, Tensor]) -> ScalarRewardModel:
    made = proxy_model(key, init)
    made.load_state_dict(dict(weights))
    return made.eval()


def sample(bed: Bed, world: World, policy: Actors, prompts: Sequence[str], per: int, key: str) -> Samples:
    """``per`` responses of the live policy to every prompt, drawn by the testbed's seed and ``key``."""
    return world.sample(policy, prompts, per, SAMPLING, bed.seed.child("evaluate", key))


@torch.no_grad()
def evaluate(
    bed: Bed,
    world: World,
    policy: Actors,
    prompts: Sequence[str] = words.HELD_OUT,
    rows: int = 512,
    key: str = "final",
) -> dict[str, float]:
    """What became of a policy, on held-out prompts by default.

    gold, proxy (mean over members, in start deviations), length (words), kl (nats a response, exact over the vocabulary
    at every sampled step), distinct (share of different responses among rows).
    """
    per = max(1, -(-rows // len(prompts)))
    samples = sample(bed, world, policy, prompts, per, key)
    drawn = words.rows_of(samples)
    steps = world.rescore(policy, samples, ("policy",), ("kl:reference",))
    assert isinstance(steps, Steps)
    texts = list(zip(samples.prompts, samples.responses or [], strict=True))
    return {
        "gold": float(words.gold(drawn).mean()),
        "proxy": float(bed.proxy(drawn).mean()) if bed.proxy.models else 0.0,
        "length": float(words.attributes(drawn)["length"].mean()),
        "kl": float(total(steps.stat("kl:reference"), steps.mask).mean()),
        "distinct": len(set(texts)) / len(texts),
    }
