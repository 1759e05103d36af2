"""From a conversation to the text a model reads: the chat template where there is one, a stated plain form elsewhere.

Tokenizers are Hugging Face's, by what they do; nothing is imported from transformers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.batch import Message, Part
from guerdon.errors import DataError

RENDERINGS = ("auto", "template", "dialogue", "raw")
DIALOGUE_NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}


def as_messages(prompt: Any, role: str = "user") -> tuple[Message, ...]:
    """Messages of a text (one turn of ``role``), of ``Message`` records, or of role/content mappings.

    A further key K of a mapping ('tool_calls') becomes a part 'message:K'. Raises DataError for anything else.
    """
    if isinstance(prompt, str):
        return (Message.of(role, prompt),)
    if not isinstance(prompt, Sequence):
        raise DataError(f"Text or a list of messages was expected, but a {type(prompt).__name__} came.")
    return tuple(_message(m) for m in prompt)


def rendering_for(tokenizer: Any, rendering: str = "auto", prompt: Any = ()) -> str:
    """The rendering to use: 'auto' is 'template' where the tokenizer has a chat template; elsewhere a text stands as it
    is ('raw') and messages become a 'dialogue'.

    'template': the tokenizer's chat template, a text being one user turn. 'dialogue': turns as ``write_dialogue`` has
    them. 'raw': the texts as they stand, nothing between them. Raises DataError for an unknown name, or 'template'
    without one.
    """
    if rendering not in RENDERINGS:
        raise DataError(f"rendering must be one of {', '.join(RENDERINGS)}, but {rendering!r} came.")
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if rendering == "template" and not has_template:
        raise DataError("rendering 'template' was asked for, but the tokenizer has no chat template; use 'dialogue'.")
    if rendering != "auto":
        return rendering
    return "template" if has_template else "raw" if isinstance(prompt, str) else "dialogue"


def render_prompt(tokenizer: Any, prompt: Any, rendering: str = "auto") -> str:
    """The prompt as the text after which the assistant's words begin (the generation prompt included)."""
    messages = as_messages(prompt)
    match rendering_for(tokenizer, rendering, prompt):
        case "template":
            return _apply_template(tokenizer, messages, generation=True)
        case "dialogue":
            return write_dialogue(_texts(messages)) + "\n\nAssistant:"
    return "".join(m.text for m in _texts(messages))


def render_response(tokenizer: Any, prompt: Any, response: Any, rendering: str = "auto") -> str:
    """The response (a text or messages) as the text that follows ``render_prompt``, up to its end-of-turn marker where
    the template has one.

    With a template, this is the rendered conversation after the rendered prompt. Where the template renders the prompt
    differently once an answer follows (templates that hide earlier thoughts do), it is the response's plain text.
    """
    asked, said = as_messages(prompt), as_messages(response, "assistant")
    match rendering_for(tokenizer, rendering, prompt):
        case "template":
            start = _apply_template(tokenizer, asked, generation=True)
            whole = _apply_template(tokenizer, (*asked, *said), generation=False)
            if whole.startswith(start):
                rest = whole[len(start) :]
                # White space after the end-of-turn marker (ChatML's newline) opens the next turn; no policy says it.
                return rest.rstrip() if rest.rstrip().endswith(turn_ends(tokenizer, "template")) else rest
            if len(said) > 1:
                raise DataError("the chat template rewrites the prompt, so a response of several turns has no text.")
            return said[0].text
        case "dialogue":
            return f" {_texts(said)[0].text}{write_dialogue(_texts(said[1:]))}" if said else ""
    return "".join(m.text for m in _texts(said))


def turn_ends(tokenizer: Any, rendering: str) -> tuple[str, ...]:
    """Tokens that end a turn: the end token; in a template, any special token but the begin token (Gemma's own)."""
    ends = set()
    if rendering == "template":
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        ends = {str(token) for token in added.values() if getattr(token, "special", False)} - {tokenizer.bos_token}
    return tuple(end for end in {*ends, tokenizer.eos_token} if end)


def write_dialogue(messages: Sequence[Message]) -> str:
    """The turns in the form of Anthropic's dialogues, "\\n\\nHuman: ...\\n\\nAssistant: ..."; roles these do not know
    keep their own name."""
    return "".join(f"\n\n{DIALOGUE_NAMES.get(m.role, m.role.capitalize())}: {m.text}" for m in messages)


def _message(given: Any) -> Message:
    if isinstance(given, Message):
        return given
    if isinstance(given, Mapping) and isinstance(given.get("role"), str) and isinstance(given.get("content"), str):
        further = [Part(f"message:{key}", value) for key, value in given.items() if key not in ("role", "content")]
        return Message(given["role"], (Part("text", given["content"]), *further))
    raise DataError(f"A message needs 'role' and 'content', both text, but {given!r:.80} came.")


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
