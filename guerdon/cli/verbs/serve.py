"""``guerdon serve``."""

import json
from typing import Annotated, Any

import typer

from guerdon.cli import show
from guerdon.cli.command import Call, quiet, say, verb
from guerdon.verbs.options import ServeOptions

LOCAL = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "serve", "guerdon serve reward --port 8000", ServeOptions)
    def serve(
        reward: Annotated[
            str,
            typer.Argument(
                help="What train-reward wrote, a stored reward (.json), or module:object with --trust.",
                show_default=False,
            ),
        ],
        *,
        options: ServeOptions,
        call: Call,
    ) -> None:
        """Answer HTTP requests with scores: /score, /get_reward of OpenRLHF and slime, /health. Ctrl-C ends it, after
        what it has taken is answered."""
        quiet()
        if call.dry_run:
            from guerdon.verbs import dry

            return show.plan(dry.serve(reward, options), call.json)
        from guerdon.verbs.serving import serve as run

        def started(about: dict[str, Any]) -> None:
            if call.json:
                print(json.dumps(about), flush=True)
            say(f"{about['name']} at {about['url']}/score and {about['url']}/get_reward; Ctrl-C ends it.")
            if not about["token"] and options.host not in LOCAL:
                say("Whoever reaches this address may use it; --token-env asks for a token.")

        counts = run(reward, options=options, started=started)
        return say(
            f"Ended: {counts['requests']} requests, {counts['answered']} answered, {counts['refused']} refused, "
            f"{counts['failed']} failed."
        )
