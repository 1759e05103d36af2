"""Toy tensors shared by the shape tests (test data, not compositions)."""

import torch

from guerdon.batch import Pairs, Steps


def steps(*rows: list[float], **names: list[list[float]]) -> Steps:
    """Steps whose policy log-probs are ``rows`` (ragged, padded with NaN) and whose other names come by keyword."""
    width = max(len(r) for r in rows)

    def table(values):
        return torch.tensor([[*r, *[float("nan")] * (width - len(r))] for r in values])

    mask = torch.tensor([[i < len(r) for i in range(width)] for r in rows])
    return Steps(mask, {"policy": table(rows).requires_grad_(), **{k: table(v) for k, v in names.items()}})


def one_pair() -> Pairs:
    """Row 0 preferred to row 1."""
    return Pairs(torch.tensor([0]), torch.tensor([1]))


def toy_pair() -> Steps:
    """T1 of the cards: log π = −1, −2, both references −1.5; the rejected response is padded with NaN."""
    return steps([-0.6, -0.4], [-2.0], reference=[[-0.75, -0.75], [-1.5]])
