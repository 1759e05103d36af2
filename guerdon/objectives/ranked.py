"""Losses of whole rankings: Plackett–Luce DPO, LiPO, and TPO's preference trees with step-wise margins."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from guerdon.batch import Batch, Lists, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives.listwise import ListLoss, listwise, ordered, plackett_luce, row_scores
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective, Stats, Term
from guerdon.reduce import first_in_span, masked, span_ids, span_sum, total

EMBEDDINGS = "columns.step_embeddings"
"""Where TPO reads what its steps mean: a tensor [K,D] a row, one vector a step in the order of the steps."""


def dpo_ranking(beta: float = 0.1, top: int | None = None) -> Objective:
    """−Σ_k [βρ(y_τ(k)) − log Σ_{j≥k} e^{βρ(y_τ(j))}], τ the ranking by value (Rafailov et al. 2023, 2305.18290,
    appendix A.3). ``top``: only the first places are ranked, the rest is known as worse. Two rows give DPO."""
    return listwise(scaled(beta, log_ratio()), plackett_luce(top), name="dpo_ranking")


def lipo(beta: float = 0.05, kind: str = "lambda", rescale: bool = False) -> Objective:
    """LiPO-λ or LiPO-softmax on s_i = βρ(y_i) (Liu et al. 2024, 2402.01878, section 3; ``lambda_loss``, ``softmax``).

    The values are the paper's labels ψ in [0, 1]; ``rescale`` brings any scale there, list by list. The sign in front
    of log(1 + e^{−(s_i − s_j)}) is a plus here: the minus printed in the paper would push the order the wrong way.
    Raises GuerdonError for another ``kind``.
    """
    if kind not in ("lambda", "softmax"):
        raise GuerdonError(f"lipo(kind=…) must be 'lambda' or 'softmax', but {kind!r} came.")
    loss = lambda_loss(rescale) if kind == "lambda" else softmax(rescale)
    return listwise(scaled(beta, log_ratio()), loss, name="lipo")


def lambda_loss(rescale: bool = False) -> ListLoss:
    """−Σ_{v_i > v_j} λ_ij log σ(z_i − z_j) with the weights of ``lambdas``. ``rescale``: v is brought to [0, 1]."""

    def loss(z: Tensor, lists: Lists) -> Tensor:
        lists = rescaled(lists) if rescale else lists
        return lambda_weighted(z[:, :, None] - z[:, None, :], z, lists)

    return loss


def softmax(rescale: bool = False) -> ListLoss:
    """−Σ_i (v_i/Σ_j v_j) log(e^{z_i}/Σ_j e^{z_j}), ListNet's cross-entropy (Cao et al. 2007). Values must not be
    negative (GuerdonError); a list of zeros has loss 0. ``rescale``: v is brought to [0, 1]."""

    def loss(z: Tensor, lists: Lists) -> Tensor:
        value = (rescaled(lists) if rescale else lists).values().to(z)
        if bool((value < 0).any()):
            raise GuerdonError("The softmax loss shares 1 by the values, but some are negative; set rescale=True.")
        whole = value.sum(-1, keepdim=True)
        target = value / torch.where(whole > 0, whole, 1.0)
        logp = torch.where(lists.mask, z, -torch.inf).log_softmax(-1)
        return -(target * torch.where(lists.mask, logp, 0.0)).sum(-1)

    return loss


def tpo_tree(beta: float = 0.5, adaptive: bool = True, rescale: bool = False, spans: str = "step") -> Objective:
    """−Σ_{v_i > v_j} λ_ij log σ(RM_ij) over the responses of a tree (Liao et al. 2024, 2410.12854, eq. 7-10).

    RM_ij = Σ_k (1 + cos(e_k^i, e_k^j))·(βρ(s_k^i) − βρ(s_k^j)), ρ(s_k) the summed log-ratio of step k
    (``Steps.spans[spans]``, in order of appearance), e_k its embedding (``EMBEDDINGS``, detached); without ``adaptive``
    RM_ij = βρ(y_i) − βρ(y_j). λ as in ``lambdas`` with z_i = βρ(y_i), detached. Responses of unequal numbers of steps
    are aligned on the shorter one, whose last step meets all that is left of the longer one. Live tokens outside every
    step count with weight 1, so that constant weights give plain log-ratios. A step after the same prefix in both
    responses contributes exactly 0. ``rescale``: values are brought to [0, 1] list by list, the range of the paper.

    The released code differs (unshifted labels, step means, no λ, a loss whose minimisation reverses the ranking).
    """
    score = scaled(beta, log_ratio())
    if not adaptive:
        return listwise(score, lambda_loss(rescale), name="tpo_tree")

    def unit(batch: Batch, stats: Stats) -> Tensor:
        lists = batch.read("lists")
        margin = beta * step_margins(batch.read("steps"), batch.read(EMBEDDINGS), lists, spans)
        return lambda_weighted(margin, row_scores(score, batch, lists), rescaled(lists) if rescale else lists)

    plain = listwise(score, lambda_loss(rescale), name="tpo_tree").terms[0]
    needs = (*plain.needs, f"steps.spans.{spans}", EMBEDDINGS)
    return Objective((Term("tpo_tree", needs, unit, plain.weight, None, plain.metrics),))


def lambda_weighted(margin: Tensor, z: Tensor, lists: Lists) -> Tensor:
    """Σ_{v_i > v_j} λ_ij·(−log σ(margin_ij)) [G] from margins [G,K,K], ranked by z [G,K]."""
    better = ordered(lists)
    loss = torch.where(better, -logsigmoid(torch.where(better, margin, 0.0)), 0.0)
    return (lambdas(z, lists).to(loss) * loss).sum((-1, -2))


@torch.no_grad()
def lambdas(z: Tensor, lists: Lists) -> Tensor:
    """λ_ij = |2^{v_i} − 2^{v_j}|·|1/ln(1 + τ_i) − 1/ln(1 + τ_j)| [G,K,K], τ the place (from 1) by falling z; no
    gradient.

    Rows of equal z take their places by value, better first, so that the order in which a list is written plays no
    part, and training can start where policy and reference are equal.
    """
    z, value = z.double(), lists.values().double()
    by_value = torch.argsort(torch.where(lists.mask, value, -torch.inf), dim=-1, descending=True, stable=True)
    kept = torch.where(lists.mask, z, -torch.inf).gather(-1, by_value)
    order = by_value.gather(-1, torch.argsort(kept, dim=-1, descending=True, stable=True))
    place = torch.argsort(order, dim=-1) + 1
    gain, discount = 2.0**value, 1 / torch.log1p(place.double())
    return (gain[:, :, None] - gain[:, None, :]).abs() * (discount[:, :, None] - discount[:, None, :]).abs()


def rescaled(lists: Lists) -> Lists:
    """The same lists with values brought to [0, 1], each list by its own smallest and largest; equal ones become 0."""
    value = lists.values()
    low = torch.where(lists.mask, value, torch.inf).amin(-1, keepdim=True)
    high = torch.where(lists.mask, value, -torch.inf).amax(-1, keepdim=True)
    spread = torch.where(high > low, high - low, 1.0)
    return Lists(lists.rows, torch.where(lists.mask, (value - low) / spread, 0.0), lists.weight)


def step_margins(steps: Steps, embeddings: object, lists: Lists, spans: str = "step") -> Tensor:
    """Σ_k (1 + cos(e_k^i, e_k^j))·(ρ(s_k^i) − ρ(s_k^j)) + ρ_i(outside) − ρ_j(outside) [G,K,K], in nats.

    embeddings: a tensor [K,D] for each of the N rows (any sequence). Steps beyond the shorter response join its last
    step; their joint embedding is the mean over tokens. Raises GuerdonError where a row has fewer embeddings than
    steps.
    """
    rho = steps.logprob("policy") - steps.logprob("reference").detach()
    number = step_numbers(steps, spans)
    most = int(number.max()) + 1 if number.numel() else 0
    outside = total(masked(rho, number < 0), steps.mask)
    hot = (number[:, :, None] == torch.arange(most, device=number.device)).to(rho)  # [N,T,S]
    ratio, tokens = torch.einsum("nts,nt->ns", hot, rho), hot.sum(1)
    summed = _stacked(embeddings, most, (tokens > 0).sum(-1)).to(rho) * tokens[:, :, None]
    at = torch.where(lists.mask, lists.rows, 0)
    count = (tokens > 0).sum(-1)[at]
    shared = torch.minimum(count[:, :, None], count[:, None, :])[..., None]  # [G,K,K,1]
    k = torch.arange(most, device=number.device)
    aligned, last = k < shared - 1, k == shared - 1

    def compared(ratio: Tensor, summed: Tensor, where: Tensor) -> Tensor:
        direction = normalize(summed, dim=-1)
        cosine = torch.einsum("gisd,gjsd->gijs", direction[at], direction[at])
        gap = ratio[at][:, :, None] - ratio[at][:, None, :]
        return torch.where(where, (1 + cosine) * gap, 0.0).sum(-1)

    rest = outside[at]
    # What a response says from step k on, where the other one's last step is k.
    onwards = ratio.flip(1).cumsum(1).flip(1), summed.flip(1).cumsum(1).flip(1)
    return compared(ratio, summed, aligned) + compared(*onwards, last) + rest[:, :, None] - rest[:, None, :]


def step_numbers(steps: Steps, spans: str = "step") -> Tensor:
    """int64 [N,T]: the number of each live token's step in its row, from 0 in order of appearance; −1 outside."""
    ids = torch.where(steps.mask, steps.spans[spans], -1)
    first = first_in_span(ids)
    opened = first.cumsum(-1).double()
    number = span_sum(masked(opened, first), ids).round().long() - 1
    return torch.where(span_ids(ids)[0] >= 0, number, -1)


def _stacked(embeddings: object, most: int, count: Tensor) -> Tensor:
    """[N,most,D] from one [K,D] a row, 0 beyond a row's own steps. Raises GuerdonError where a row has too few."""
    rows = [torch.as_tensor(x).detach() for x in embeddings]  # type: ignore[attr-defined]
    width = max((x.shape[-1] for x in rows), default=1)
    out = torch.zeros(len(rows), most, width, device=count.device)
    for i, (x, n) in enumerate(zip(rows, count.tolist(), strict=True)):
        if len(x) < n:
            raise GuerdonError(f"Row {i} has {n} steps, but {len(x)} step embeddings; give one a step.")
        out[i, :n] = x[:n].to(out)
    return out
