"""A round's samples as RSO's pairs: rejection sampling by the reward, then pairs of the survivors."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from guerdon.batch import Batch, Pairs
from guerdon.data.rejection import PAIRINGS, by_reward, first_round_pairs, rejection_sample, tournament_pairs
from guerdon.errors import GuerdonError
from guerdon.training.recipe import Build, Rollout


def rejected_pairs(
    keep: int = 8, temperature: float = 0.5, pairing: str = "first-round", channel: str | None = None
) -> Build:
    """Of every prompt ``keep`` rows by ``data.rejection_sample`` on a channel, paired and labelled by it (Liu et al.
    2023, 2309.06657); the other rows are left out.

    temperature: β of the sampling, in the channel's units. Prompts with fewer rows keep all; ties give no pair. Draws
    come from the round's seed. The samples are those of the round: the paper draws them once, from the start policy.
    Raises GuerdonError for another ``pairing`` or a channel of one value a step.
    """
    if pairing not in PAIRINGS or keep < 2:
        raise GuerdonError(
            f"rejected_pairs takes keep ≥ 2 and a pairing of {', '.join(PAIRINGS)}, but {keep} and {pairing!r} came."
        )
    paired = first_round_pairs if pairing == "first-round" else tournament_pairs

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        found = rollout.scores.only() if channel is None else rollout.scores[channel]
        if found.value.ndim != 1:
            raise GuerdonError("Rows are paired by a channel of one value a row, but this one has a value a step.")
        value, ok = found.filled().detach().cpu(), found.ok.cpu()
        ids = rollout.samples.partition("prompt").ids.cpu()
        pairs: list[tuple[int, int]] = []
        for prompt in ids.unique().tolist():
            rows = (ok & (ids == prompt)).nonzero()[:, 0].tolist()
            if len(rows) < 2:
                continue
            rewards, seed = [float(value[i]) for i in rows], rollout.seed.child("rejected", prompt)
            kept = rejection_sample(rewards, min(keep, len(rows)), temperature, seed)
            pairs += [(rows[w], rows[l]) for w, l in paired(kept, by_reward(rewards), seed)]
        winner, loser = (torch.tensor([p[k] for p in pairs], dtype=torch.int64) for k in (0, 1))
        made = Pairs(winner.to(batch.device), loser.to(batch.device))
        yield replace(batch, pairs=made, block=None).take(torch.cat([winner, loser]).unique().to(batch.device))

    return Build("rejected_pairs", call, gives=("pairs",))
