"""How a policy ranks pairs: an aligned one those it was measured on, or any policy those of an audit."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch

from guerdon.audit.ranking_report import Rankings, rankings
from guerdon.audit.rankings import PairLogps, pair_logps
from guerdon.batch import Preference, Seed
from guerdon.data import with_comparisons
from guerdon.errors import GuerdonError
from guerdon.training import Recorded
from guerdon.verbs import measure
from guerdon.verbs.job import Job, shown_records
from guerdon.verbs.material import source_of
from guerdon.verbs.options import AuditOptions
from guerdon.verbs.preferences import Records, fitting
from guerdon.verbs.reward import thread_count
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.text import TextWorld, load_policy

AT_ONCE = 64
"""Records whose log-probs are computed together."""


def pair_rankings(job: Job) -> dict[str, Any]:
    """{'rankings': …} of the policy beside its start, on the same pairs as the other measurements; nothing for methods
    that sample or records without comparisons."""
    records = [r for r in shown_records(job)[: measure.PROMPTS] if r.comparisons]
    if job.preset.online or not records:
        return {}
    return {"rankings": rankings(logps_of(job.world, job.snapshots, job.tokenizer, records, job.start)).to_dict()}


@torch.no_grad()
def logps_of(world: TextWorld, snapshots: Snapshots, tokenizer: Any, records: Records, to: str) -> PairLogps:
    """The log-probs of every comparison of the records under the policy and the snapshot ``to``."""
    parts = []
    for first in range(0, len(records), AT_ONCE):
        some = records[first : first + AT_ONCE]
        recorded = source_of("pairs", some, tokenizer, world.context, len(some), Seed(0), ordered=True)
        assert isinstance(recorded, Recorded) and recorded.pairs is not None
        parts.append(pair_logps(world.rescore(snapshots, recorded.samples, ("policy", to)), recorded.pairs, to=to))
    return PairLogps(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(PairLogps)))


def rank_records(records: Records, chosen: AuditOptions, log: Callable[[str], None] | None = None) -> Rankings:
    """How ``chosen.policy`` ranks the records' decided comparisons beside ``chosen.reference``: records drawn at random
    until they have ``chosen.most_pairs`` comparisons. Raises GuerdonError where none is decided, or the two policies
    have other shapes."""
    assert chosen.policy is not None
    policy, tokenizer = load_policy(chosen.policy, chosen.device, chosen.dtype)
    snapshots = Snapshots(policy, reference=Frozen())
    if chosen.reference is not None:
        start, _ = load_policy(chosen.reference, chosen.device, chosen.dtype)
        snapshots.put("reference", dict(start.named_parameters()))
    world = TextWorld(policy, tokenizer)
    compared = [with_comparisons(r) for r in records]
    decided = [replace(r, comparisons=tuple(c for c in r.comparisons if c.p != 0.5)) for r in compared]
    decided = [r for r in decided if r.comparisons]
    if not decided:
        raise GuerdonError("A policy ranks decided comparisons, but no record has one.")
    order = torch.randperm(len(decided), generator=Seed(chosen.seed).child("rankings").torch()).tolist()
    some: list[Preference] = []
    pairs = 0
    while pairs < chosen.most_pairs and len(some) < len(decided):
        some.append(decided[order[len(some)]])
        pairs += len(some[-1].comparisons)

    def tokens(record: Any) -> object:
        return source_of("pairs", [record], tokenizer, world.context, 1, Seed(0))

    kept = fitting(some, tokens, chosen.on_error, log)
    with thread_count(chosen.threads, sum(p.numel() for p in policy.parameters())):
        return rankings(logps_of(world, snapshots, tokenizer, kept, "reference"))
