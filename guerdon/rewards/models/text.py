"""A prompt and a response as token ids, the chat template honoured, with the response's tokens told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guerdon.batch import Message, TokenRows
from guerdon.errors import GuerdonError
from guerdon.rewards.models.embeddings import wrap


@dataclass(frozen=True)
class EncodedRow:
    """Token ids of one row; those from ``start`` on are the response, its end marker included."""

    ids: list[int]
    start: int

    @property
    def response_length(self) -> int:
        """Response tokens."""
        return len(self.ids) - self.start


def messages_of(prompt: Any) -> list[dict[str, str]]:
    """A prompt as chat messages: text becomes one user turn; Message objects and role/content mappings stay what they
    are."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Sequence) and all(isinstance(m, Message | Mapping) for m in prompt):
        return [
            {"role": m.role, "content": m.text}
            if isinstance(m, Message)
            else {"role": m["role"], "content": m["content"]}
            for m in prompt
        ]
    raise GuerdonError(f"A prompt must be text or a list of messages, but a {type(prompt).__name__} came.")


def plain_text(prompt: Any) -> str:
    """A prompt as text for tokenizers without a chat template: 'role: text' lines; a single user turn is its text
    alone."""
    turns = messages_of(prompt)
    if len(turns) == 1 and turns[0]["role"] == "user":
        return turns[0]["content"]
    return "\n".join(f"{m['role']}: {m['content']}" for m in turns)


def encode(
    tokenizer: Any, prompt: Any, response: str, *, max_length: int | None = None, end: bool = True
) -> EncodedRow:
    """Ids of prompt then response.

    With a chat template the template's own markup surrounds both. Without one: the tokenizer's leading special tokens,
    the prompt, its separator if it has one (encoders), the response, and its end token (``end``). Longer than
    ``max_length``: the *start of the prompt* goes, never the response. Raises GuerdonError where the response alone
    does not fit.
    """
    if getattr(tokenizer, "chat_template", None):
        turns = messages_of(prompt)
        ahead = _template(tokenizer, turns, True)
        whole = _template(tokenizer, [*turns, {"role": "assistant", "content": response}], False)
        start = next(
            (i for i, (a, b) in enumerate(zip(ahead, whole, strict=False)) if a != b), min(len(ahead), len(whole))
        )
        head, body = whole[:start], whole[start:]
    else:
        around = wrap(tokenizer, [-1])
        cut = around.index(-1)
        separator = [tokenizer.sep_token_id] if tokenizer.sep_token_id is not None and cut > 0 else []
        after = around[cut + 1 :] or ([tokenizer.eos_token_id] if end and tokenizer.eos_token_id is not None else [])
        prompt_ids = tokenizer.encode(plain_text(prompt), add_special_tokens=False, verbose=False)
        head = around[:cut] + prompt_ids + separator
        body = tokenizer.encode(response, add_special_tokens=False, verbose=False) + after
    if max_length is not None and len(head) + len(body) > max_length:
        if len(body) > max_length:
            raise GuerdonError(f"A response of {len(body)} tokens does not fit the model's context of {max_length}.")
        head = head[len(head) + len(body) - max_length :]
    return EncodedRow(head + body, len(head))


def pad_rows(rows: Sequence[EncodedRow], pad: int) -> TokenRows:
    """Rows of unequal length as one right-padded block; padding is told by ``attention``."""
    width = max((len(r.ids) for r in rows), default=0)
    ids = torch.full((len(rows), width), pad, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.int64)
    at = torch.arange(width)
    length = torch.tensor([len(r.ids) for r in rows], dtype=torch.int64).unsqueeze(1)
    start = torch.tensor([r.start for r in rows], dtype=torch.int64).unsqueeze(1)
    return TokenRows(ids, at < length, (at >= start) & (at < length))


def right_padded(rows: TokenRows) -> TokenRows:
    """The same rows with all real tokens moved to the front and the padding behind, so that positions count from 0 in
    any model."""
    order = torch.argsort((~rows.attention).to(torch.int8), dim=1, stable=True)
    width = int(rows.attention.sum(1).max()) if len(rows) else 0
    ids, attention, response = (x.gather(1, order)[:, :width] for x in (rows.ids, rows.attention, rows.response))
    return TokenRows(ids, attention, response)


def tokenizer_key(tokenizer: Any) -> str:
    """A hash of the vocabulary: worlds put it in ``Samples.made_by['tokenizer']``, so that rewards know whose ids they
    see."""
    import hashlib

    return hashlib.blake2b(repr(sorted(tokenizer.get_vocab().items())).encode(), digest_size=16).hexdigest()


def _template(tokenizer: Any, turns: list[dict[str, str]], ask: bool) -> list[int]:
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)
    return tokenizer.encode(text, add_special_tokens=False, verbose=False)
