"""Steps of written solutions: which tokens belong to which line, and a cheap vector of what each line says."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Batch, TokenRows
from guerdon.errors import GuerdonError
from guerdon.training.recipe import Estimator, Rollout

COLUMN = "step_embeddings"


def line_steps(rows: TokenRows, tokenizer: Any) -> Tensor:
    """int64 [N,L]: the number of each response token's line in its row, from 0; −1 outside the response.

    A line ends with the first token whose text holds a newline, blank lines belong to the line before them.
    """
    ids = rows.ids[rows.response].unique().tolist()
    texts = {i: tokenizer.decode([i]) for i in ids}
    breaks = torch.tensor([i for i in ids if "\n" in texts[i]], dtype=torch.int64)
    blank = torch.tensor([i for i in ids if "\n" in texts[i] and not texts[i].strip()], dtype=torch.int64)
    is_break = torch.isin(rows.ids.cpu(), breaks) & rows.response.cpu()
    is_blank = torch.isin(rows.ids.cpu(), blank) & rows.response.cpu()
    response = rows.response.cpu()
    before = torch.zeros_like(is_break)
    before[:, 1:] = is_break[:, :-1]
    started = response & ~is_blank
    opens = started & before & (started.cumsum(-1) > 1)
    return torch.where(response, opens.cumsum(-1), -1).to(rows.ids.device)


def with_lines(rows: TokenRows, tokenizer: Any) -> TokenRows:
    """The rows with their lines as spans 'step'."""
    return replace(rows, spans={**rows.spans, "step": line_steps(rows, tokenizer)})


def lexical_steps(width: int = 256, level: str = "step") -> Estimator:
    """Adds the column 'step_embeddings', [K,width] a row: how often each token comes in each of the row's K steps
    (spans ``level``), token ids hashed to ``width`` places. The cosine of two is 1 for the same tokens, whatever their
    order, and 0 for steps that share none.

    It stands in for the mean hidden state of a step, for which give that column with the data (it is left alone).
    Raises GuerdonError where rows have neither steps nor the column.
    """

    def call(rollout: Rollout) -> Batch:
        batch, rows = rollout.batch(), rollout.samples.payload
        if COLUMN in batch.columns:
            return batch
        if not isinstance(rows, TokenRows) or level not in rows.spans:
            raise GuerdonError(f"Step embeddings need rows of tokens with spans {level!r}, or a column {COLUMN!r}.")
        return replace(batch, columns={**batch.columns, COLUMN: counts(rows, width, level)})

    return Estimator("lexical_steps", call, gives=(f"columns.{COLUMN}",))


def counts(rows: TokenRows, width: int = 256, level: str = "step") -> list[Tensor]:
    """Hashed token counts of every row's steps, a tensor [K,width] a row, steps in order of their numbers."""
    found = []
    for ids, spans, live in zip(rows.ids, rows.spans[level], rows.response, strict=True):
        inside = live & (spans >= 0)
        numbers, at = torch.unique(spans[inside], return_inverse=True)
        table = torch.zeros(len(numbers), width, device=ids.device)
        # Knuth's multiplier spreads neighbouring ids; the places are those of the product's middle bits.
        place = ((ids[inside] * 2654435761) >> 16) % width
        found.append(table.index_put((at, place), torch.ones_like(place, dtype=table.dtype), accumulate=True))
    return found
