"""SPO's preference degrees: the model is asked how much of a response was taken away, beside its pairwise loss."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from guerdon import reduce
from guerdon.batch import Batch, Lists
from guerdon.errors import GuerdonError
from guerdon.objectives.pairwise import dpo
from guerdon.objectives.terms import Objective, Stats, Term

KINDS = ("classify", "order")


def spo_degree(beta: float = 0.1, gamma: float = 0.5, degrees: int = 3, kind: str = "classify") -> Objective:
    """DPO + γ·L_deg (Li et al. 2024, 2409.17791; γ and M are not in its abstract, 0.5 and 3 are choices). γ = 0 is DPO
    itself and asks for no head. Any objective of pairs may stand in DPO's place: ``simpo() + 0.5 * degree_loss()``."""
    base = dpo(beta)
    return base + gamma * degree_loss(degrees, kind) if gamma else base


def degree_loss(degrees: int = 3, kind: str = "classify", margin: float = 1.0, head: str = "degree") -> Objective:
    """L_deg on the batch's ``lists``, whose column j holds the response without the share j/M of its key content
    (``data.with_degrees``).

    'classify': −log softmax(z_j)_j, one unit a row, z_j = (the heads 'degree0' … 'degreeM' averaged over the row's
    steps), which is a linear map of the mean state. 'order': Σ_{j<k} max(0, margin − (s_j − s_k)), one unit a list, s
    the head 'degree0' alone. The heads are value heads of the world (statistics 'value:degree0', …), so that the
    gradient reaches its body; they are dropped after training. A list with fewer copies is judged on those it has.
    Raises GuerdonError for another ``kind``, or lists wider than the degrees.
    """
    if kind not in KINDS or degrees < 1:
        raise GuerdonError(
            f"degree_loss takes kind 'classify' or 'order' and degrees ≥ 1, but {kind!r}, {degrees} came."
        )
    count = degrees + 1 if kind == "classify" else 1
    names = [f"value:{head}{j}" for j in range(count)]

    def scores(batch: Batch) -> tuple[Lists, Tensor]:
        """[G,K,C] of every row, 0 where a list has none."""
        lists, steps = batch.read("lists"), batch.read("steps")
        if lists.rows.shape[1] > degrees + 1:
            raise GuerdonError(
                f"The degree loss knows {degrees + 1} degrees, but the lists have {lists.rows.shape[1]} columns; give "
                "degrees, or fewer copies."
            )
        pooled = torch.stack([reduce.average(steps.stat(n), steps.mask) for n in names], -1)
        found = pooled[torch.where(lists.mask, lists.rows, 0)]
        return lists, torch.where(_live(batch, lists)[..., None], found, torch.zeros_like(found))

    def classify(batch: Batch, stats: Stats) -> Tensor:
        lists, z = scores(batch)
        label = torch.arange(lists.rows.shape[1], device=z.device).expand(lists.rows.shape)
        return cross_entropy(z.flatten(0, 1), label.flatten(), reduction="none")

    def order(batch: Batch, stats: Stats) -> Tensor:
        lists, z = scores(batch)
        s, live = z[..., 0], _live(batch, lists)
        both = (live[:, :, None] & live[:, None, :]).triu(1)
        return torch.where(both, relu(margin - (s[:, :, None] - s[:, None, :])), 0.0).sum((-1, -2))

    def weight(batch: Batch) -> Tensor:
        lists = batch.read("lists")
        live = _live(batch, lists)
        if kind == "classify":
            return (live * lists.weights()[:, None]).flatten()
        return torch.where(live.sum(-1) > 1, lists.weights(), 0.0)

    needs = ("lists", *(f"steps.stats.{n}" for n in names))
    return Objective((Term("degree", needs, classify if kind == "classify" else order, weight),))


def _live(batch: Batch, lists: Lists) -> Tensor:
    """bool [G,K]: rows that are there and have a step."""
    has_step = batch.read("steps").mask.any(-1)
    return lists.mask & has_step[torch.where(lists.mask, lists.rows, 0)]
