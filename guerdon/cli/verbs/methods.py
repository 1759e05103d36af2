"""``guerdon methods``."""

from typing import Annotated

import typer

from guerdon.cli import show
from guerdon.cli.command import Call, verb
from guerdon.verbs.options import MethodsOptions


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "methods", "guerdon methods dpo", MethodsOptions)
    def methods(
        name: Annotated[str | None, typer.Argument(help="One method.", show_default=False)] = None,
        *,
        options: MethodsOptions,
        call: Call,
    ) -> None:
        """The published systems that guerdon implements, with what its own runs say of their claims."""
        if call.dry_run:
            return show.plan_of(call.json, "methods", needs=[("catalogue", "in the package")])
        from guerdon.cli.catalogue import list_methods

        return list_methods(name, options.search, call.json, options.family)
