"""The texts of many rows to token ids in one call of the tokenizer: the rules stay those of ``encode``."""

from collections.abc import Sequence
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.worlds.text.encoding import is_ids
from guerdon.worlds.text.rendering import as_messages, render_prompt, render_response


class Prepared:
    """A tokenizer that has met some texts before: it answers for these from memory, and passes on all else.

    ``encode`` with it gives what ``encode`` with the tokenizer itself gives, since only the answers' cost changes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, list[int]] = {}
        self._marked: dict[str, Any] = {}
        self._chats: dict[str, str] = {}
        # Read once: transformers builds some of these anew at every look.
        for name in ("bos_token", "bos_token_id", "eos_token", "eos_token_id", "sep_token_id", "unk_token_id"):
            setattr(self, name, getattr(tokenizer, name, None))
        self.added_tokens_decoder = getattr(tokenizer, "added_tokens_decoder", None)

    def meet(self, texts: Sequence[str]) -> None:
        """Tokenise texts, without special tokens, in one call."""
        new = [t for t in dict.fromkeys(texts) if t and t not in self._ids]
        if new:
            ids = self._tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"]
            self._ids.update(zip(new, ids, strict=True))

    def __call__(self, text: str, **options: Any) -> Any:
        """As the tokenizer itself; from memory where it was called like this before."""
        if options == {"add_special_tokens": False, "verbose": False}:
            self.meet([text])
            return {"input_ids": self._ids.get(text, [])}
        if options:
            return self._tokenizer(text, **options)
        if text not in self._marked:
            self._marked[text] = self._tokenizer(text)
        return self._marked[text]

    def apply_chat_template(self, chat: Any, **options: Any) -> Any:
        """As the tokenizer itself; each conversation is rendered once."""
        key = repr((chat, options))
        if key not in self._chats:
            self._chats[key] = self._tokenizer.apply_chat_template(chat, **options)
        return self._chats[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def prepared(tokenizer: Any, prompts: Sequence[Any], responses: Sequence[Any], rendering: str = "auto") -> Any:
    """A tokenizer for which ``encode`` of these rows is a matter of looking up; None stays None. Rows of ids need
    nothing; a row that cannot be rendered is left out: its own ``encode`` says why."""
    if tokenizer is None:
        return None
    known = Prepared(tokenizer)
    texts = []
    for prompt, response in zip(prompts, responses, strict=True):
        if is_ids(prompt) or is_ids(response):
            continue
        try:
            start = render_prompt(known, prompt, rendering)
            said = render_response(known, prompt, as_messages(response, "assistant"), rendering)
        except GuerdonError:
            continue
        texts += [start, start + said]
    known.meet(texts)
    return known
