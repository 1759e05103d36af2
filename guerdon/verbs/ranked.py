"""How an aligned policy ranks the pairs it was measured on, for ``summary.json`` and the report."""

from typing import Any

import torch

from guerdon.audit.ranking_report import rankings
from guerdon.audit.rankings import pair_logps
from guerdon.training import Recorded
from guerdon.verbs import measure
from guerdon.verbs.job import Job, shown_records
from guerdon.verbs.material import source_of


@torch.no_grad()
def pair_rankings(job: Job) -> dict[str, Any]:
    """{'rankings': …} of the policy beside its start, on the same pairs as the other measurements; nothing for methods
    that sample or records without comparisons."""
    records = [r for r in shown_records(job)[: measure.PROMPTS] if r.comparisons]
    if job.preset.online or not records:
        return {}
    recorded = source_of("pairs", records, job.tokenizer, job.world.context, len(records), job.seed)
    assert isinstance(recorded, Recorded) and recorded.pairs is not None
    steps = job.world.rescore(job.snapshots, recorded.samples, ("policy", job.start))
    return {"rankings": rankings(pair_logps(steps, recorded.pairs, to=job.start)).to_dict()}
