"""Rows whose turns go on: a prompt that ends within the assistant's turn, a response that more would follow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from guerdon.batch import Message
from guerdon.data.first_step import OPEN, is_open
from guerdon.worlds.text import Encoded, encode, encode_prompt, encode_response


def encode_turns(tokenizer: Any, prompt: Sequence[Message], response: Sequence[Message], **options: Any) -> Encoded:
    """``encode``, for messages that may be marked as unfinished (a part of kind 'open').

    What an unfinished last message of the prompt says stands at the start of the response's own turn, but its tokens
    are the prompt's; a token that straddles the border is the response's. An unfinished response has no end token.
    """
    asked, begun = _parted(prompt)
    goes_on = bool(response) and is_open(response[-1])
    if not begun and not goes_on:
        return encode(tokenizer, prompt, response, **options)
    said = [_closed(m) for m in response]
    said[0] = Message.of(said[0].role, begun + said[0].text)
    row = encode(tokenizer, asked, said, **options)
    if goes_on:
        row = replace(row, response=_without_end(tokenizer, row.response))
    if not begun:
        return row
    head = _without_end(tokenizer, encode_response(tokenizer, asked, begun))
    same = next((k for k, (a, b) in enumerate(zip(head, row.response, strict=False)) if a != b), len(head))
    same = min(same, len(row.response) - 1)
    return replace(row, prompt=(*row.prompt, *row.response[:same]), response=row.response[same:])


def prompt_ids(tokenizer: Any, prompt: Sequence[Message]) -> tuple[int, ...]:
    """``encode_prompt``, for messages of which the last may be an unfinished turn: its tokens stand at the end."""
    asked, begun = _parted(prompt)
    head = _without_end(tokenizer, encode_response(tokenizer, asked, begun)) if begun else ()
    return (*encode_prompt(tokenizer, asked), *head)


def _parted(prompt: Sequence[Message]) -> tuple[Sequence[Message], str]:
    """(the messages before an unfinished turn, what it says; '' where there is none)."""
    return (prompt[:-1], prompt[-1].text) if prompt and is_open(prompt[-1]) else (prompt, "")


def _closed(message: Message) -> Message:
    return replace(message, parts=tuple(part for part in message.parts if part.kind != OPEN))


def _without_end(tokenizer: Any, ids: tuple[int, ...]) -> tuple[int, ...]:
    """The ids without the special tokens behind them, but at least one."""
    special = set(tokenizer.all_special_ids)
    last = len(ids)
    while last > 1 and ids[last - 1] in special:
        last -= 1
    return ids[:last]
