"""From a prompt and a response to token ids, by one set of rules for policies, reward models and data.

A prompt's ids are a prefix of its row's. One begin-of-sequence token where the tokenizer uses one, one end token behind
a response. Text becomes ids once and never goes back: what is scored or trained on is the ids made here or sampled.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guerdon.batch import Message
from guerdon.errors import DataError, GuerdonError
from guerdon.worlds.text.rendering import as_messages, render_prompt, render_response, rendering_for, turn_ends


@dataclass(frozen=True)
class Encoded:
    """One row of tokens. prompt, response: ids; the response ends with its end token unless it was cut.

    dropped: how many tokens the prompt lost from its start. cut: how many the response lost from its end.
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    dropped: int = 0
    cut: int = 0

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def encode(
    tokenizer: Any,
    prompt: Any,
    response: Any,
    *,
    max_length: int | None = None,
    rendering: str = "auto",
    on_long: str = "raise",
    eos: Sequence[int] | None = None,
    source: str = "this row",
) -> Encoded:
    """``encode_prompt`` and ``encode_response`` as one row of at most ``max_length`` tokens.

    A longer row loses tokens from the start of its prompt (a begin-of-sequence token stays), but at least one prompt
    token remains. A response that does not fit beside it raises DataError naming ``source`` (on_long='raise') or loses
    its end and end token (on_long='cut'). Both losses are counted in what is returned.
    """
    if on_long not in ("raise", "cut"):
        raise DataError(f"on_long must be 'raise' or 'cut', but {on_long!r} came.")
    head = encode_prompt(tokenizer, prompt, rendering, eos)
    tail = encode_response(tokenizer, prompt, response, rendering, eos)
    if max_length is None or len(head) + len(tail) <= max_length:
        return Encoded(head, tail)
    opening = _opening(tokenizer, head)
    room = max(0, max_length - min(len(head), opening + 1))
    if len(tail) > room and on_long == "raise":
        raise DataError(
            f"{source}: the response has {len(tail)} tokens, but the context of {max_length} has room for {room} "
            "beside its prompt's end; raise the maximum length, drop the record, or cut it with on_long='cut'."
        )
    kept = max_length - min(len(tail), room)
    ends = head[len(head) - kept :] if kept <= opening else (*head[:opening], *head[len(head) - kept + opening :])
    return Encoded(ends, tail[:room], len(head) - kept, max(0, len(tail) - room))


def encode_prompt(
    tokenizer: Any, prompt: Any, rendering: str = "auto", eos: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The prompt's ids, as a policy is started from; never empty.

    prompt: a text, messages (``Message`` or role/content mappings), or token ids (a list or int64 tensor), used
    untouched. A chat template writes all special tokens itself; elsewhere those that the tokenizer puts before a text
    stand once, and an encoder's separator closes the prompt. A prompt that is empty even so gives the begin or (GPT-2's
    way) the end token, so that there is a position to predict the first token from. Raises DataError where the
    tokenizer has neither, GuerdonError where text comes without a tokenizer.
    """
    if is_ids(prompt):
        ids = tuple(int(i) for i in prompt)
    else:
        _need(tokenizer, prompt)
        ids = _ids(tokenizer, render_prompt(tokenizer, prompt, rendering))
        if rendering_for(tokenizer, rendering, prompt) != "template":
            before, _ = surround(tokenizer)
            began = ids[: len(before)] == before or _opening(tokenizer, ids) > 0
            ids = (*(() if began else before), *ids, *_separator(tokenizer))
    if ids:
        return ids
    begin = getattr(tokenizer, "bos_token_id", None)
    start = [begin] if begin is not None else _ends(tokenizer, eos)
    if not start:
        raise DataError("the prompt is empty and the tokenizer has no begin or end token to start from; give a prompt.")
    return (int(start[0]),)


def encode_response(
    tokenizer: Any, prompt: Any, response: Any, rendering: str = "auto", eos: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The ids of a response to ``prompt``: what stands behind those of ``encode_prompt``, closed by one end token.

    response: a text, messages (several turns where the template can write them), or token ids, used untouched (a cut
    response has no end). eos: the ids that end a response, the tokenizer's by default (an encoder's separator where it
    has none); the first is appended unless the response already ends with one of them or its template's end-of-turn
    marker. A response of one turn ends at its first end token. With token ids as prompt it is encoded on its own.
    """
    if is_ids(response):
        return tuple(int(i) for i in response)
    _need(tokenizer, response)
    ends = _ends(tokenizer, eos)
    turns: tuple[Message, ...] = as_messages(response, "assistant")
    if is_ids(prompt):
        kind, said = "raw", render_response(tokenizer, "", turns, "raw")
        ids = _ids(tokenizer, said)
    else:
        kind, said = rendering_for(tokenizer, rendering, prompt), render_response(tokenizer, prompt, turns, rendering)
        apart = kind != "template" and bool(_separator(tokenizer))
        start = "" if apart else render_prompt(tokenizer, prompt, rendering)
        ids = _continuation(tokenizer, start, said)
    first = next((k for k, i in enumerate(ids) if i in ends), None)
    if first is not None and len(turns) == 1:
        return ids[: first + 1]
    closed = (ids and ids[-1] in ends) or (kind == "template" and said.endswith(turn_ends(tokenizer, kind)))
    return ids if closed else (*ids, *ends[:1])


def surround(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that this tokenizer puts before and behind one text ([CLS] and [SEP], a begin token, none)."""
    around = tuple(tokenizer("")["input_ids"])
    if not around:
        return (), ()
    whole, alone = tuple(tokenizer("a")["input_ids"]), _ids(tokenizer, "a")
    at = next((i for i in range(len(around) + 1) if whole[i : i + len(alone)] == alone), len(around))
    return around[:at], around[at:]


def tokenizer_key(tokenizer: Any) -> str:
    """A hash of the vocabulary, by which a reward knows whether it reads the same ids as the world
    (``Samples.made_by['tokenizer']``); '' without a tokenizer."""
    if tokenizer is None:
        return ""
    return hashlib.blake2b(repr(sorted(tokenizer.get_vocab().items())).encode(), digest_size=16).hexdigest()


def is_ids(given: Any) -> bool:
    """Whether this is a row of token ids rather than a text or messages."""
    return isinstance(given, torch.Tensor) or (
        isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(i, int) for i in given)
    )


def _need(tokenizer: Any, content: Any) -> None:
    if tokenizer is None:
        raise GuerdonError(f"There is no tokenizer here, so token ids are needed, but {content!r:.60} came.")


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else ()


def _continuation(tokenizer: Any, start: str, said: str) -> tuple[int, ...]:
    """The ids of ``said`` after ``start``: cut from the whole where no token straddles the border, else on its own.

    Cutting keeps a sentence-piece tokenizer from putting a space before the response that is not there. Where ``start``
    ends with an unknown token, the border is not known: that token may have swallowed the response's first word.
    """
    head = _ids(tokenizer, start)
    if head and head[-1] != getattr(tokenizer, "unk_token_id", None):
        whole = _ids(tokenizer, start + said)
        if whole[: len(head)] == head:
            return whole[len(head) :]
    return _ids(tokenizer, said)


def _opening(tokenizer: Any, ids: tuple[int, ...]) -> int:
    """How many leading ids are the begin of a sequence."""
    if tokenizer is None or not ids:
        return 0
    before, _ = surround(tokenizer)
    if before and ids[: len(before)] == before:
        return len(before)
    return int(tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id)


def _separator(tokenizer: Any) -> tuple[int, ...]:
    """The separator of tokenizers that put one behind every text (encoders): it tells prompt and response apart."""
    sep = getattr(tokenizer, "sep_token_id", None)
    before, after = surround(tokenizer) if sep is not None else ((), ())
    return after[-1:] if before and after[-1:] == (sep,) else ()


def _ends(tokenizer: Any, eos: Sequence[int] | None) -> tuple[int, ...]:
    if eos is not None:
        return tuple(eos)
    if tokenizer is None:
        return ()
    return _separator(tokenizer) if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
