"""What a format is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.batch import Message, Preference
from guerdon.data.records import Record
from guerdon.errors import DataError


@dataclass(frozen=True)
class Format:
    """One way of writing preference records.

    needs: the fields every record has. detect: record -> why it looks like this format, or None. read: (record, source)
    -> Preference; raises DataError naming ``source`` and field. write: Preference -> record; raises DataError where the
    format cannot hold it. names: the field of each response, for messages, given how many there are.
    """

    name: str
    needs: tuple[str, ...]
    detect: Callable[[Record], str | None]
    read: Callable[[Record, str], Preference]
    write: Callable[[Preference], dict[str, Any]]
    names: Callable[[int], Sequence[str]]


def cannot(preference: Preference, name: str, holds: str) -> DataError:
    """The error for a record that this format cannot hold without loss; ``holds`` says what it can."""
    where = preference.source or "this preference"
    return DataError(f"{where}: format {name!r} holds {holds}, which does not fit this one; write format 'guerdon'.")


def says(text: str, role: str = "assistant") -> tuple[Message, ...]:
    """One text message as a response or a prompt."""
    return (Message.of(role, text),)


def only_text(messages: Sequence[Message], role: str, preference: Preference, name: str) -> str:
    """The text of a single text message of this role. Raises DataError for anything a plain string cannot hold."""
    if len(messages) == 1 and messages[0].role == role and [part.kind for part in messages[0].parts] == ["text"]:
        return messages[0].text
    raise cannot(preference, name, "plain strings (one user text, one assistant text)")


def numbered(count: int) -> Sequence[str]:
    """The field of each response where they stand in a list."""
    return [f"responses[{i}]" for i in range(count)]
