"""``guerdon align``."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli import show
from guerdon.cli.command import Call, print_json, quiet, say, verb
from guerdon.cli.command import report as make_report
from guerdon.verbs.options import AlignOptions


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "align",
        "guerdon align prefs.jsonl --model my-model --method dpo --out aligned",
        AlignOptions,
        out="Folder for policy, metrics, checkpoints and report; runs/align-… by default.",
    )
    def align(
        prefs: Annotated[Path, typer.Argument(help="Preference records in any known format.", show_default=False)],
        *,
        options: AlignOptions,
        call: Call,
    ) -> None:
        """Align a causal language model; an unfinished run in --out is resumed."""
        quiet()
        out = call.folder("align", prefs, options.method or "")
        if call.dry_run:
            from guerdon.verbs import dry_align

            return show.plan(dry_align.align(prefs, options, out), call.json)
        from guerdon.training import distributed
        from guerdon.verbs import align as run_alignment

        with distributed.joined():
            first = distributed.rank() == 0
            with show.bar(str(options.method)) if first else nullcontext() as tick:
                done = run_alignment(prefs, out=out, overwrite=call.overwrite, progress=tick, options=options, log=say)
        if not first:
            return None
        if call.json:
            print_json(done.summary)
        else:
            show.table(f"{options.method} → {out / 'policy'}", ("", "before", "after"), done.rows())
        return make_report(out)
