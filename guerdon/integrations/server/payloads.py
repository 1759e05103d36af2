"""What requests hold and what they are told: our own words, OpenRLHF's and slime's. Pure functions of JSON values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guerdon.batch import Status
from guerdon.errors import GuerdonError, RewardError
from guerdon.integrations.batching import Rows
from guerdon.integrations.hosts import Invalid
from guerdon.integrations.openrlhf import Words
from guerdon.integrations.server.requests import Refused
from guerdon.rewards.bind import Answer

Tell = Callable[[Sequence[Answer]], Any]
KNOWN = ("prompts", "responses", "columns")


def native(data: Mapping[str, Any]) -> Rows:
    """{"prompts": [N], "responses": [N], "columns": {name: [N]}}; prompts and responses are texts or lists of
    messages. Raises Refused (422) naming the field that is not."""
    for name in data:
        if name not in KNOWN:
            raise Refused(422, f"The body has the fields {', '.join(KNOWN)}, but {name!r} came.")
    prompts, responses = (_list(data, name) for name in KNOWN[:2])
    for name, values in (("prompts", prompts), ("responses", responses)):
        for i, value in enumerate(values):
            _content(f"{name}[{i}]", value)
    columns = data.get("columns", {})
    if not isinstance(columns, dict):
        raise Refused(422, f"columns must be an object of lists, but a {_kind(columns)} came.")
    columns = {name: _list(columns, name, f"columns.{name}") for name in columns}
    _equal({"prompts": prompts, "responses": responses, **{f"columns.{k}": v for k, v in columns.items()}})
    return Rows(prompts, responses, columns)


def tell_native(names: Sequence[str]) -> Tell:
    """{"values": [N] with null where invalid, "status": [N], "components": {name: [N]}, "notes": [N]}."""

    def tell(answers: Sequence[Answer]) -> dict[str, Any]:
        return {
            "values": [a.value for a in answers],
            "status": [a.status.name for a in answers],
            "components": {name: [a.components.get(name) for a in answers] for name in names},
            "notes": [a.note for a in answers],
        }

    return tell


def openrlhf(data: Mapping[str, Any], words: Words) -> Rows:
    """{"query": [N], "prompts": [N], "labels": [N]}, the last two if sent. Raises Refused (422) naming the field."""
    lists = {name: _list(data, name) for name in ("query", "prompts", "labels") if data.get(name) is not None}
    _equal(lists)
    for name in ("query", "prompts"):
        for i, value in enumerate(lists.get(name, [])):
            if not isinstance(value, str):
                raise Refused(422, f"{name}[{i}] must be a text, but a {_kind(value)} came.")
    try:
        return words.rows(lists["query"], lists.get("prompts"), lists.get("labels"))
    except GuerdonError as error:
        raise Refused(422, str(error)) from None


def tell_openrlhf(names: Sequence[str], words: Words) -> Tell:
    """``Words.answers``, with null for NaN."""

    def tell(answers: Sequence[Answer]) -> dict[str, Any]:
        found = _or_refused(answers, words.invalid, lambda: words.answers(answers, names))
        return {**found, **{key: [_number(x) for x in found[key]] for key in ("rewards", "scores")}}

    return tell


def slime(data: Mapping[str, Any], words: Words) -> Rows:
    """{"prompt": text or messages, "response": text, "label": anything}. Raises Refused (422) naming the field."""
    for name in ("prompt", "response"):
        if name not in data:
            raise Refused(422, f"The field {name} is missing.")
    _content("prompt", data["prompt"])
    if not isinstance(data["response"], str):
        raise Refused(422, f"response must be a text, but a {_kind(data['response'])} came.")
    return Rows([data["prompt"]], [data["response"]], words.columns([data["label"]] if "label" in data else None))


def tell_slime(words: Words, components: bool) -> Tell:
    """The number alone, which slime takes as the reward; or {"reward": number, component: number or null} for its
    ``--reward-key reward``. null for NaN."""

    def tell(answers: Sequence[Answer]) -> Any:
        (answer,) = answers
        value = _number(_or_refused(answers, words.invalid, lambda: words.told(answer)))
        return {**answer.components, "reward": value} if components else value

    return tell


def _or_refused(answers: Sequence[Answer], invalid: Invalid, tell: Callable[[], Any]) -> Any:
    try:
        return tell()
    except RewardError as error:
        lost = any(a.status is Status.FAILED for a in answers)
        raise Refused(500 if lost else 422, str(error)) from None
    except GuerdonError as error:
        raise Refused(500, str(error)) from None


def _number(x: float) -> float | None:
    """JSON has no NaN."""
    return None if x != x else x


def _list(data: Mapping[str, Any], name: str, shown: str | None = None) -> list[Any]:
    if name not in data:
        raise Refused(422, f"The field {shown or name} is missing.")
    if not isinstance(data[name], list):
        raise Refused(422, f"{shown or name} must be a list, but a {_kind(data[name])} came.")
    return data[name]


def _content(name: str, value: Any) -> None:
    messages = isinstance(value, list) and all(isinstance(m, dict) for m in value)
    if not (isinstance(value, str) or messages):
        raise Refused(422, f"{name} must be a text or a list of messages, but a {_kind(value)} came.")


def _equal(lists: Mapping[str, Sequence[Any]]) -> None:
    (first, n), *others = ((name, len(values)) for name, values in lists.items())
    for name, other in others:
        if other != n:
            raise Refused(422, f"{name} must be as long as {first} ({n}), but has {other} entries.")


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number")
