"""From messages to tokens: rendering by the tokenizer's chat template; a prompt's tokens are a prefix of its row.

Text becomes tokens once and never goes back: whatever is scored or trained on is the ids made here or sampled.
Tokenizers are Hugging Face's, by what they do; nothing is imported from transformers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guerdon.batch import Message, TokenRows
from guerdon.data.formats.hh import write_dialogue
from guerdon.errors import DataError

RENDERINGS = ("auto", "template", "dialogue", "raw")


@dataclass(frozen=True)
class Encoded:
    """One row of tokens. prompt, response: ids; the response ends with its end token unless it was cut.

    dropped: how many prompt tokens were dropped from its start. cut: whether the response lost its end.
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    dropped: int = 0
    cut: bool = False

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def rendering_for(tokenizer: Any, rendering: str = "auto") -> str:
    """The rendering to use: 'auto' is 'template' where the tokenizer has a chat template, else 'dialogue'.

    'dialogue': "\\n\\nHuman: ...\\n\\nAssistant:" turns. 'raw': the texts as they stand, nothing between them.
    Raises DataError for an unknown name, or 'template' without one.
    """
    if rendering not in RENDERINGS:
        raise DataError(f"rendering must be one of {', '.join(RENDERINGS)}, but {rendering!r} came.")
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if rendering == "template" and not has_template:
        raise DataError("rendering 'template' was asked for, but the tokenizer has no chat template; use 'dialogue'.")
    if rendering != "auto":
        return rendering
    return "template" if has_template else "dialogue"


def render_prompt(prompt: Sequence[Message], tokenizer: Any, rendering: str = "auto") -> str:
    """The prompt as the text after which the assistant's words begin (the generation prompt included)."""
    match rendering_for(tokenizer, rendering):
        case "template":
            return _apply_template(tokenizer, prompt, generation=True)
        case "dialogue":
            return write_dialogue(_texts(prompt)) + "\n\nAssistant:"
    return "".join(m.text for m in _texts(prompt))


def render_response(
    prompt: Sequence[Message], response: Sequence[Message], tokenizer: Any, rendering: str = "auto"
) -> str:
    """The response as the text that follows ``render_prompt``, up to its end-of-turn marker where the template has one.

    With a template, this is the rendered conversation after the rendered prompt. Where the template renders the prompt
    differently once an answer follows (templates that hide earlier thoughts do), it is the response's plain text.
    """
    match rendering_for(tokenizer, rendering):
        case "template":
            start = render_prompt(prompt, tokenizer, "template")
            whole = _apply_template(tokenizer, (*prompt, *response), generation=False)
            if whole.startswith(start):
                said = whole[len(start) :]
                # White space after the end-of-turn marker (ChatML's newline) opens the next turn; no policy says it.
                return said.rstrip() if said.rstrip().endswith(_turn_ends(tokenizer, template=True)) else said
            if len(response) > 1:
                raise DataError("the chat template rewrites the prompt, so a response of several turns has no text.")
            return response[0].text
        case "dialogue":
            rest = write_dialogue(_texts(response[1:]))
            return f" {_texts(response)[0].text}{rest}" if response else ""
    return "".join(m.text for m in _texts(response))


def encode(
    prompt: Sequence[Message],
    response: Sequence[Message],
    tokenizer: Any,
    max_length: int | None = None,
    rendering: str = "auto",
    on_long: str = "raise",
    source: str = "this record",
) -> Encoded:
    """Prompt and response as ids, the prompt's exactly those of ``encode_prompt``.

    The end token is appended once: not where the template already ended the turn (TRL a70b4e014), nor where the
    tokenizer has none. A row longer than ``max_length`` loses tokens from the start of its prompt (a begin-of-sequence
    token stays) but at least one prompt token remains; a response that does not fit beside it raises DataError naming
    ``source`` (on_long='raise') or loses its end and end token (on_long='cut'), flagged in ``Encoded.cut``.
    """
    if on_long not in ("raise", "cut"):
        raise DataError(f"on_long must be 'raise' or 'cut', but {on_long!r} came.")
    start, said = render_prompt(prompt, tokenizer, rendering), render_response(prompt, response, tokenizer, rendering)
    head = encode_prompt(prompt, tokenizer, rendering)
    tail = _continuation(start, said, tokenizer)
    end, template = tokenizer.eos_token_id, rendering_for(tokenizer, rendering) == "template"
    if end is not None and not said.endswith(_turn_ends(tokenizer, template)):
        tail = (*tail, int(end))
    if max_length is None or len(head) + len(tail) <= max_length:
        return Encoded(head, tail)
    keep = 2 if _opens(head, tokenizer) and len(head) > 1 else min(len(head), 1)
    room = max_length - keep
    if len(tail) > room and on_long == "raise":
        raise DataError(
            f"{source}: the response has {len(tail)} tokens, but {max(room, 0)} fit into {max_length} beside its "
            "prompt's end; raise the maximum length, drop the record, or cut it with on_long='cut'."
        )
    cut = len(tail) > room
    tail = tail[: max(room, 0)]
    kept = max_length - len(tail)
    return Encoded(_keep_end(head, kept, tokenizer), tail, len(head) - kept, cut)


def encode_prompt(prompt: Sequence[Message], tokenizer: Any, rendering: str = "auto") -> tuple[int, ...]:
    """The prompt's ids, as a policy is started from. One begin-of-sequence token where the tokenizer uses one.

    A chat template writes that token itself; elsewhere it is added once if the tokenizer adds it to plain text. A
    prompt that is empty even so gives the begin or end token, so that there is a position to predict the first token
    from; DataError where the tokenizer has neither.
    """
    ids = _ids(tokenizer, render_prompt(prompt, tokenizer, rendering))
    begin = tokenizer.bos_token_id
    if rendering_for(tokenizer, rendering) != "template" and begin is not None and not _opens(ids, tokenizer):
        ids = (int(begin), *ids) if _adds_begin(tokenizer) else ids
    if ids:
        return ids
    start = begin if begin is not None else tokenizer.eos_token_id
    if start is None:
        raise DataError("the prompt is empty and the tokenizer has no begin or end token to start from; give a prompt.")
    return (int(start),)


def token_rows(rows: Sequence[Encoded], tokenizer: Any = None) -> TokenRows:
    """The rows [N,L] padded on the right. Padding is told by ``attention`` alone and never by an id.

    The pad id is the tokenizer's, or 0 where it has none: no position reads it.
    """
    pad = getattr(tokenizer, "pad_token_id", None)
    width = max(map(len, rows), default=0)
    ids = torch.full((len(rows), width), 0 if pad is None else int(pad), dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor((*row.prompt, *row.response), dtype=torch.int64)
    at = torch.arange(width)
    ends = torch.tensor([len(row) for row in rows], dtype=torch.int64)[:, None]
    starts = torch.tensor([len(row.prompt) for row in rows], dtype=torch.int64)[:, None]
    return TokenRows(ids, at < ends, (at >= starts) & (at < ends))


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()


def _continuation(start: str, said: str, tokenizer: Any) -> tuple[int, ...]:
    """The ids of ``said`` after ``start``: cut from the whole where no token straddles the border, else on its own.

    Cutting keeps a sentence-piece tokenizer from putting a space before the response that is not there.
    """
    head, whole = _ids(tokenizer, start), _ids(tokenizer, start + said)
    return whole[len(head) :] if whole[: len(head)] == head else _ids(tokenizer, said)


def _keep_end(head: tuple[int, ...], kept: int, tokenizer: Any) -> tuple[int, ...]:
    """The last ``kept`` ids, the begin-of-sequence token counted among them where there is room for more than it."""
    if _opens(head, tokenizer) and 1 < kept < len(head):
        return (head[0], *head[len(head) - kept + 1 :])
    return head[len(head) - kept :]


def _opens(ids: Sequence[int], tokenizer: Any) -> bool:
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _adds_begin(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its begin token before plain text."""
    return _opens(tokenizer("a")["input_ids"], tokenizer)


def _turn_ends(tokenizer: Any, template: bool) -> tuple[str, ...]:
    """Tokens that end a turn: the end token; in a template, any special token but the begin token (Gemma's own)."""
    ends = set()
    if template:
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        ends = {str(token) for token in added.values() if getattr(token, "special", False)} - {tokenizer.bos_token}
    return tuple(end for end in {*ends, tokenizer.eos_token} if end)


def _apply_template(tokenizer: Any, messages: Sequence[Message], generation: bool) -> str:
    chat = _chat(messages)
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generation))
    except Exception as error:  # templates raise whatever Jinja or their author chose
        roles = ", ".join(m.role for m in messages) or "none"
        raise DataError(f"the tokenizer's chat template refuses turns of roles {roles}: {error}") from error


def _texts(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages. Raises DataError where one holds more than text."""
    for message in messages:
        for part in message.parts:
            if part.kind != "text":
                raise DataError(
                    f"a {message.role} message holds a part of kind {part.kind!r}; plain text was expected."
                )
    return messages


def _chat(messages: Sequence[Message]) -> list[Mapping[str, Any]]:
    """Messages as chat templates take them; tool calls and names are passed on, other parts refused."""
    chat: list[Mapping[str, Any]] = []
    for message in messages:
        further = {p.kind.removeprefix("message:"): p.value for p in message.parts if p.kind.startswith("message:")}
        plain = [part for part in message.parts if not part.kind.startswith("message:")]
        _texts([Message(message.role, tuple(plain))])
        chat.append({"role": message.role, "content": message.text, **further})
    return chat
