"""``guerdon audit``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli import show
from guerdon.cli.command import Call, print_json, say, verb
from guerdon.cli.command import report as make_report
from guerdon.verbs.options import AuditOptions

COUNTS = (
    "records",
    "prompts",
    "repeated_prompts",
    "responses",
    "comparisons",
    "ties",
    "soft",
    "empty",
    "identical",
    "duplicates",
    "contradictions",
)


LEAKS = (
    ("prompts", "prompt stands in the first file"),
    ("near", "prompt is the same or nearly"),
    ("responses", "a response stands in the first file"),
)


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "audit", "guerdon audit prefs.jsonl --out audit", AuditOptions, out="Folder for the audit and a report.")
    def audit(
        prefs: Annotated[Path, typer.Argument(help="Preference records in any known format.", show_default=False)],
        other: Annotated[
            Path | None,
            typer.Argument(metavar="[OTHER]", help="A second file: what leaks between the two.", show_default=False),
        ] = None,
        *,
        options: AuditOptions,
        call: Call,
    ) -> None:
        """Count, check and describe preference data: duplicates, empty answers, length bias, agreement."""
        if call.dry_run:
            from guerdon.verbs.preferences import audit_plan

            return show.plan(audit_plan(prefs, options, call.out, other), call.json)
        from guerdon.verbs import audit as run_audit

        with show.bar("audit") as tick:
            done = run_audit(
                prefs,
                other=other,
                options=options,
                out=call.out,
                overwrite=call.overwrite,
                progress=tick,
                log=say,
            )
        found = done.to_dict()
        if call.json:
            print_json(found)
        else:
            _print_audit(found)
        return make_report(call.out)


def _print_audit(found: dict[str, Any]) -> None:
    for sentence in found["headline"]:
        print(f"• {sentence}")
    print()
    examples = found["examples"]
    rows = [
        (
            name.replace("_", " "),
            found[name],
            ", ".join(source.rpartition(":")[2].removeprefix(" record ") for source in examples.get(name) or ()),
        )
        for name in COUNTS
    ]
    show.table("Counts", ("", "count", "first found at line"), rows)
    length, baseline, agreement = found["length"], found["baseline"], found["agreement"]
    facts: list[tuple[str, str]] = []
    if length:
        facts.append((f"chosen − rejected, {length['unit']}", show.interval(length["difference"])))
        facts.append(("chosen is longer", show.interval(length["longer"], percent=True)))
    if baseline:
        facts.append(("length alone predicts the choice", show.interval(baseline["accuracy"], percent=True)))
    if agreement:
        facts.append(("agreement (Krippendorff's α)", f"{agreement['alpha']:.3f} over {agreement['pairs']} pairs"))
    for leak in found["leakage"] or ():
        facts += [(f"{leak['second']}: {what}", show.interval(leak[kind], percent=True)) for kind, what in LEAKS]
    facts += [(f"{name.replace('_', ' ')} (not known)", reason) for name, reason in found["reasons"].items()]
    show.table("\nBias and agreement", ("", ""), facts)
    if found["rankings"]:
        print("\nThe policy and these pairs")
        for sentence in found["rankings"]["sentences"]:
            print(f"• {sentence}")
        hard = [
            (f"{b['low']:g} nats or more", b["pairs"])
            for b in found["rankings"]["difficulty"]
            if b["low"] is not None and b["low"] >= 1
        ]
        show.table("", ("the start ranks them wrongly by", "pairs"), hard)
