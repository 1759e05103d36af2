"""What documentation pages show of a verb, taken from the command line itself: its example, arguments and options."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, get_args

from guerdon.verbs.schema import Option, choices_of, is_free, options_of

SHARED = "Every verb also takes `--config FILE`, `--set NAME=VALUE`, `--json`, `--dry-run`, `--debug` and `--help`."
NAMES = (
    "In a file and after `--set` an option is called like its long flag with `_` for `-`, or as in brackets; "
    "`optim.lr` stands in a file as `lr` below `optim`."
)
KINDS: Mapping[Any, str] = {bool: "yes or no", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class VerbPage:
    """One verb. example: the call its --help ends with. usage: its arguments. writes: whether it takes --out."""

    name: str
    example: str
    usage: str
    options: tuple[Option, ...]
    writes: str


def verb_pages() -> Mapping[str, VerbPage]:
    """Every verb by its name, in the order of ``guerdon --help``."""
    from guerdon.cli.app import app

    return {str(c.name): _page(str(c.name), str(c.epilog), c.callback) for c in app.registered_commands}


def _page(name: str, epilog: str, command: Any) -> VerbPage:
    words, writes = ["guerdon", name], ""
    for parameter in signature(command).parameters.values():
        info = get_args(parameter.annotation)[1]
        if parameter.name == "out":
            writes = info.help
        elif type(info).__name__ == "ArgumentInfo":
            word = info.metavar or parameter.name.upper()
            needed = parameter.default in (parameter.empty, ...) or word.startswith("[")
            words.append(word if needed else f"[{word}]")
    example = epilog.partition("`")[2].rstrip("`")
    own = vars(command.schema).get("__annotations__", {})
    options = sorted(options_of(command.schema), key=lambda o: o.name.partition(".")[0] not in own)  # shared ones last
    return VerbPage(name, example, " ".join(words), tuple(options), writes)


def options_page(verb: VerbPage) -> str:
    """Usage and a table of every option as Markdown."""
    lines = ["```text", f"{verb.usage} [options]", "```", ""]
    if verb.options or verb.writes:
        lines += ["| option | value | default | what it does |", "|---|---|---|---|", *_rows(verb), ""]
    return "\n".join([*lines, NAMES if verb.options else "", SHARED])


def _rows(verb: VerbPage) -> Iterator[str]:
    for option in verb.options:
        if is_free(option.kind):
            yield f"| `--set {option.name}.NAME=…` | of the name's kind | the method's | {_cell(option.help)} |"
            continue
        default = "none" if option.default is None else f"`{option.default}`"
        kinds = " or ".join(KINDS[k] for k in choices_of(option.kind) if k is not type(None))
        value = option.allowed if option.allowed.startswith("one of") else " ".join([kinds, option.allowed]).strip()
        yield f"| {_named(option)} | {_cell(value)} | {default} | {_cell(option.help)} |"
    if verb.writes:
        yield f"| `--out`, `-o` | folder | | {_cell(verb.writes)} |"
        yield "| `--overwrite` | | | Replace a finished run in --out. |"


def _named(option: Option) -> str:
    """Its flags, and its name in a file where that is another one."""
    if not option.flags:
        return f"`--set {option.name}=…`"
    flags = ", ".join(f"`{f}`" for f in option.flags)
    own = f"--{option.name.replace('_', '-')}" in option.flags
    return flags if own else f"{flags} (`{option.name}`)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
