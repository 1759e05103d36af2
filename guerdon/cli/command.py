"""One way for every verb to become a command: its own arguments, the flags of its schema, and the flags all share."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.verbs import schema
from guerdon.verbs.options import NoOptions

LORA_RANK = 8
SHARED = "Every verb"

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a finished run in --out.", rich_help_panel=SHARED)
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Options from a YAML, TOML or JSON file.", rich_help_panel=SHARED),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.", rich_help_panel=SHARED)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print needs, passes, memory and time; compute and write nothing.", rich_help_panel=SHARED
    ),
]
Lora = Annotated[bool, typer.Option("--lora", help=f"Train LoRA adapters of rank {LORA_RANK}.")]


@dataclass(frozen=True)
class Call:
    """What every verb is told beside its options. out: the folder for results, None where nothing is written."""

    out: Path | None
    overwrite: bool
    json: bool
    dry_run: bool

    def folder(self, *names: object) -> Path:
        """--out, or 'runs/' and the names joined."""
        return self.out or Path("runs") / "-".join(_plain(str(n)) for n in names)


def verb(
    app: typer.Typer, name: str, example: str, options: type = NoOptions, *, out: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of ``app``: (its own arguments, ``options``: built from file < --set < flags, ``call``:
    ``Call``).

    Flags come from the schema ``options``, once for all verbs; out: the help of --out, None for a verb that writes
    nothing. example: what --help ends with; a test runs it.
    """

    def register(body: Callable[..., None]) -> Callable[..., None]:
        own = [p for n, p in signature(body).parameters.items() if n not in ("options", "call")]
        listed = list(schema.options_of(options))
        flags = [o for o in listed if o.flags]
        lora = any(o.name == "lora.rank" for o in listed)

        def command(**given: Any) -> None:
            call = Call(given.pop("out", None), given.pop("overwrite", False), given.pop("json"), given.pop("dry_run"))
            tree = [schema.read_config(path) if (path := given.pop("config")) else {}]
            tree.append(schema.assignments(given.pop("set") or []))
            said = {o.name: value for o in flags if (value := given.pop(f"option_{o.parameter}")) is not None}
            if lora and given.pop("lora"):
                said.setdefault("lora.rank", LORA_RANK)
            built: Any = schema.build(options, schema.merged(*(schema.nested(t) for t in (*tree, said))))
            body(**given, options=built, call=call)

        shared = [_out(out), ("overwrite", Overwrite, False)] if out is not None else []
        more = [("lora", Lora, False)] if lora else []
        common = [("config", Config, None), ("set", _set(listed), None), ("json", Json, False)]
        parameters = [
            *own,
            *(_named(f"option_{o.parameter}", _flag(o), None) for o in flags),
            *(_named(*p) for p in (*more, *shared, *common, ("dry_run", DryRun, False))),
        ]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__doc__ = body.__doc__
        command.__annotations__ = {}
        command.schema = options  # type: ignore[attr-defined]
        app.command(name, epilog=f"Example: `{example}`")(command)
        return body

    return register


def _named(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(option: schema.Option) -> Any:
    kind = option.plain_kind
    flags = list(option.flags)
    if kind is bool:
        flags = [f"{f}/--no-{f.removeprefix('--')}" for f in flags]
    shown = "" if option.default is None else str(option.default)
    info = typer.Option(*flags, help=option.help, show_default=shown if shown and kind is not bool else False)
    return Annotated[kind | None, info]  # type: ignore[valid-type,unused-ignore]


def _out(help: str) -> tuple[str, Any, None]:
    return "out", Annotated[Path | None, typer.Option("--out", "-o", help=help, rich_help_panel=SHARED)], None


def _set(listed: Sequence[schema.Option]) -> Any:
    deep = [o.name for o in listed if "." in o.name and not o.flags]
    more = f" Also {', '.join(deep)}." if deep else ""
    example = "optim.lr=1e-4" if "optim.lr" in deep else "name=value"
    help = f"One option, for instance {example}; repeatable.{more}"
    return Annotated[list[str] | None, typer.Option("--set", "-s", help=help, rich_help_panel=SHARED)]


def _plain(text: str) -> str:
    """A name for a folder: the file's own name without endings."""
    stem = Path(text).name.split(".")[0] or "stdin"
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in stem).strip("-") or "stdin"


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(finite(value), indent=1, ensure_ascii=False, default=str))


def print_lines(values: Any) -> None:
    """JSON Lines on stdout."""
    for value in values:
        print(json.dumps(finite(value), ensure_ascii=False, default=str))


def finite(value: Any) -> Any:
    """The value with null for NaN and the infinities, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def report(out: Path | None) -> None:
    """Make the report of a folder and say where it is."""
    if out is not None:
        from guerdon.report import build_report

        say(f"Report: {build_report(out)}")


def quiet() -> None:
    """transformers' own progress bars would cut ours to pieces."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(ImportError):
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
