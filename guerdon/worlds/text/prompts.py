"""From what a data set calls a prompt to token ids: text, message lists through the chat template, or ids as they
are."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from guerdon.batch import Message
from guerdon.errors import DataError, GuerdonError


def encode_prompt(tokenizer: Any, prompt: Any, eos: Sequence[int]) -> list[int]:
    """Token ids of one prompt, never empty: an empty prompt becomes the beginning-of-sequence token (or, as GPT-2
    does it, the end-of-sequence token), since the first token of a response needs one before it to be predicted from.

    prompt: a text; a list of messages (``Message`` or role/content mappings), ended by the template's generation
    prompt; or token ids (list or int64 tensor), used untouched. An end-of-sequence token which a tokenizer adds to a
    text is dropped. Raises GuerdonError where text comes without a tokenizer or messages without a chat template.
    """
    if isinstance(prompt, torch.Tensor):
        ids = [int(i) for i in prompt]
    elif not isinstance(prompt, str) and all(isinstance(i, int) for i in prompt):
        ids = list(prompt)
    else:
        _need(tokenizer, prompt)
        if isinstance(prompt, str):
            ids = list(tokenizer(prompt)["input_ids"])
            while ids and ids[-1] in eos and not prompt.endswith(tokenizer.decode(ids[-1:])):
                ids.pop()
        else:
            ids = _template(tokenizer, prompt, generation=True)
    return ids or [_first(tokenizer, eos)]


def encode_response(tokenizer: Any, prompt: Any, response: Any, eos: Sequence[int]) -> list[int]:
    """Token ids of one recorded response to ``prompt``, ended by exactly one end-of-sequence token.

    After messages it is what the chat template puts behind the generation prompt, cut after the first
    end-of-sequence; after text, the response's own tokens. Token ids are used untouched (no end is added: a cut
    response has none).
    """
    if isinstance(response, torch.Tensor) or (
        not isinstance(response, str) and all(isinstance(i, int) for i in response)
    ):
        return [int(i) for i in response]
    _need(tokenizer, response)
    text = response if isinstance(response, str) else "".join(_dictionary(m)["content"] for m in response)
    ids: list[int] = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not isinstance(prompt, str) and not _is_ids(prompt):
        before = _template(tokenizer, prompt, generation=True)
        whole = _template(tokenizer, [*prompt, {"role": "assistant", "content": text}], generation=False)
        if whole[: len(before)] == before:
            ids = whole[len(before) :]
    end = next((k for k, i in enumerate(ids) if i in eos), None)
    if end is not None:
        return ids[: end + 1]
    return [*ids, *eos[:1]]


def tokenizer_key(tokenizer: Any) -> str:
    """A hash of the vocabulary, by which a reward knows whether it reads the same ids as the world ('' without a
    tokenizer)."""
    if tokenizer is None:
        return ""
    return hashlib.blake2b(repr(sorted(tokenizer.get_vocab().items())).encode(), digest_size=16).hexdigest()


def _is_ids(prompt: Any) -> bool:
    return isinstance(prompt, torch.Tensor) or all(isinstance(i, int) for i in prompt)


def _need(tokenizer: Any, content: Any) -> None:
    if tokenizer is None:
        raise GuerdonError(f"This text world has no tokenizer, so it needs token ids, but {content!r:.60} came.")


def _first(tokenizer: Any, eos: Sequence[int]) -> int:
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is not None:
        return int(bos)
    if eos:
        return eos[0]
    raise GuerdonError(
        "An empty prompt needs a beginning- or end-of-sequence token to start from; the tokenizer has neither."
    )


def _dictionary(message: Any) -> dict[str, Any]:
    if isinstance(message, Message):
        other = [p.kind for p in message.parts if p.kind != "text"]
        if other:
            raise DataError(f"A text world reads text parts alone, but a message holds a part of kind {other[0]!r}.")
        return {"role": message.role, "content": message.text}
    if isinstance(message, dict) and "role" in message and "content" in message:
        return message
    raise DataError(f"A message needs 'role' and 'content', but {message!r:.80} came.")


def _template(tokenizer: Any, messages: Sequence[Any], generation: bool) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        raise GuerdonError(
            "The prompt is a list of messages, but the tokenizer has no chat template; give text, or set "
            "tokenizer.chat_template."
        )
    return list(
        tokenizer.apply_chat_template(
            [_dictionary(m) for m in messages], add_generation_prompt=generation, tokenize=True, return_dict=False
        )
    )
