"""The verbs: each parses, calls one function and prints what it gave."""

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli import show
from guerdon.verbs import options as schema

ABOUT = (
    "The reward layer for aligning models: audit preferences, train and judge rewards, align policies, see whether "
    "they cheat."
)

app = typer.Typer(
    name="guerdon",
    help=ABOUT,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog="Every verb has --help with an example. Add --debug to any call for a full traceback.",
)

Prefs = Annotated[
    Path, typer.Argument(help="Preference records: JSON Lines or a JSON array, gzipped or not.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)]
MaybeOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for the results and a report.", show_default=False)
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A model's folder or hub id; train-reward knows 'minilm' too.")
]
Format = Annotated[str, typer.Option("--format", help="Format of the records; 'auto' looks at the first one.")]
OnError = Annotated[
    str, typer.Option("--on-error", help="What a bad record does: 'raise' stops, 'skip' leaves it out.")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps …", show_default="cpu")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.", show_default="float32")]
UseLora = Annotated[bool, typer.Option("--lora", help="Train LoRA adapters of rank 8 instead of all weights.")]
LoraRank = Annotated[
    int | None, typer.Option("--lora-rank", help="Rank of the adapters; implies --lora.", show_default=False)
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="Options from a YAML, TOML or JSON file.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One option, for instance optim.lr=1e-4; repeatable.", show_default=False),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Root of all draws.", show_default="0")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Torch threads; 0 is one for models under 10 M weights.", show_default="0"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished run in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _options(kind: Any, config: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Any:
    """File, then --set, then flags: later wins."""
    trees = [schema.read_config(config) if config else {}, schema.assignments(sets or [])]
    lora, rank = flags.pop("lora"), flags.pop("lora_rank")
    given = {name: value for name, value in flags.items() if value is not None}
    if lora or rank is not None:
        given["lora"] = {"rank": 8 if rank is None else rank}
    return schema.build(kind, schema.merged(*trees, given))


def _command() -> str:
    return shlex.join(["guerdon", *sys.argv[1:]])


def _quiet() -> None:
    """transformers' own progress bars would cut ours to pieces."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(ImportError):
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    # The help text is the application's own.
    if version:
        from guerdon import __version__

        print(__version__)
        raise typer.Exit


@app.command(epilog="Example: `guerdon demo --out guerdon-demo`")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("guerdon-demo"),
    fast: Annotated[bool, typer.Option("--fast", help="A smaller tour, to see that everything works.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Root of all draws.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """The whole main job on the embedded lab: preferences, reward model, alignment, audit, report (about five
    minutes)."""
    _quiet()
    from guerdon.cli.demo import run_demo

    page = run_demo(out, fast=fast, seed=seed, overwrite=overwrite, command=_command())
    print(page)


@app.command(epilog="Example: `guerdon audit prefs.jsonl --out audit`")
def audit(
    prefs: Prefs,
    out: MaybeOut = None,
    format: Format = "auto",
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Count, check and describe preference data: duplicates, empty answers, length bias, agreement."""
    from guerdon.verbs import audit as run_audit

    found = run_audit(
        prefs, format=format, on_error=on_error, out=out, overwrite=overwrite, command=_command()
    ).to_dict()
    if json:
        _print_json(found)
    else:
        _print_audit(found)
    _report(out)


@app.command("train-reward", epilog="Example: `guerdon train-reward prefs.jsonl --model minilm --out reward`")
def train_reward(
    prefs: Prefs,
    out: Out,
    model: Model = "minilm",
    format: Format = "auto",
    on_error: OnError = "raise",
    members: Annotated[int | None, typer.Option("--members", help="Size of the ensemble.", show_default="1")] = None,
    device: Device = None,
    dtype: Dtype = None,
    lora: UseLora = False,
    lora_rank: LoraRank = None,
    config: Config = None,
    set: Set = None,
    seed: SeedOption = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a Bradley–Terry reward model and judge it on prompts held out."""
    flags = {
        "members": members,
        "device": device,
        "dtype": dtype,
        "lora": lora,
        "lora_rank": lora_rank,
        "seed": seed,
        "threads": threads,
    }
    options = _options(schema.RewardOptions, config, set, flags)
    _quiet()
    from guerdon.verbs import read
    from guerdon.verbs import train_reward as run_training
    from guerdon.verbs.folder import read_json

    records = read(prefs, format, on_error, log=_say)
    with show.bar("reward model") as tick:
        run_training(
            records,
            model,
            out=out,
            overwrite=overwrite,
            command=_command(),
            progress=tick,
            options=options,
            source=str(prefs),
            on_error=on_error,
            log=_say,
        )
    found = read_json(out / "evaluation.json") if (out / "evaluation.json").is_file() else None
    if json:
        _print_json(found)
    elif found is not None:
        _print_evaluation("Held-out prompts", found)
    else:
        _say("Nothing was held out (held_out=0, or too few records): judge the model with guerdon evaluate.")
    _report(out if found is not None else None)


@app.command(epilog="Example: `guerdon evaluate reward other-prefs.jsonl`")
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What train-reward wrote.", show_default=False)],
    prefs: Prefs,
    format: Format = "auto",
    on_error: OnError = "raise",
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Accuracy, calibration and length dependence of a reward model on comparisons."""
    _quiet()
    from guerdon.verbs import read
    from guerdon.verbs.reward import evaluate_folder

    found = evaluate_folder(folder, read(prefs, format, on_error, log=_say), device or "cpu", threads or 0)
    if json:
        _print_json(found)
    else:
        _print_evaluation(str(prefs), found)


@app.command(epilog="Example: `guerdon align prefs.jsonl --model ./my-model --method dpo --out aligned`")
def align(
    prefs: Prefs,
    out: Out,
    model: Model,
    method: Annotated[str, typer.Option("--method", help=", ".join(schema.METHODS) + ".", show_default=False)],
    reward: Annotated[
        Path | None,
        typer.Option("--reward", "-r", help="What train-reward wrote; grpo and rloo need it.", show_default=False),
    ] = None,
    format: Format = "auto",
    on_error: OnError = "raise",
    device: Device = None,
    dtype: Dtype = None,
    lora: UseLora = False,
    lora_rank: LoraRank = None,
    config: Config = None,
    set: Set = None,
    seed: SeedOption = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Align a causal language model; an unfinished run in --out is resumed."""
    flags = {"device": device, "dtype": dtype, "lora": lora, "lora_rank": lora_rank, "seed": seed, "threads": threads}
    options = _options(schema.AlignOptions, config, set, flags)
    _quiet()
    from guerdon.verbs import align as run_alignment
    from guerdon.verbs import read

    records = read(prefs, format, on_error, log=_say)
    with show.bar(f"{method}") as tick:
        done = run_alignment(
            records,
            model,
            method,
            reward=reward,
            out=out,
            overwrite=overwrite,
            command=_command(),
            progress=tick,
            options=options,
            source=str(prefs),
            on_error=on_error,
            log=_say,
        )
    if json:
        _print_json(done.summary)
    else:
        show.table(f"{method} → {out / 'policy'}", ("", "before", "after"), done.rows())
    _report(out)


@app.command(epilog="Example: `guerdon report aligned`")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that a verb wrote.", show_default=False)],
) -> None:
    """Make the HTML report of a folder again from what is stored there."""
    from guerdon.report import build_report

    print(build_report(folder))


@app.command(epilog="Example: `guerdon methods dpo`")
def methods(
    name: Annotated[str | None, typer.Argument(help="One method.", show_default=False)] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="Only methods that mention this.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """The published systems that guerdon implements, with what its own runs say of their claims."""
    from guerdon.cli.catalogue import list_methods

    list_methods(name, search, json)


@app.command(epilog="Example: `guerdon reproduce dpo --smoke`")
def reproduce(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Methods to reproduce.", show_default=False)],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A run of seconds that proves the plumbing and no claim.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the experiment behind a method's claim and print its verdict."""
    from guerdon.cli.catalogue import run_reproductions

    run_reproductions(names, smoke, json)


def _report(out: Path | None) -> None:
    if out is not None:
        from guerdon.report import build_report

        _say(f"Report: {build_report(out)}")


def _print_audit(found: dict[str, Any]) -> None:
    counts = (
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
    examples = found["examples"]
    rows = [
        (
            name.replace("_", " "),
            found[name],
            ", ".join(source.rpartition(":")[2] for source in examples.get(name) or ()),
        )
        for name in counts
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
    facts += [(f"{name.replace('_', ' ')} (not known)", reason) for name, reason in found["reasons"].items()]
    show.table("\nBias and agreement", ("", ""), facts)


def _print_evaluation(title: str, found: dict[str, Any]) -> None:
    report = found["report"]
    rows = [
        ("pairs", str(report["pairs"])),
        ("accuracy", show.interval(report["accuracy"])),
        (f"length alone ({found['length_rule']})", show.interval(found["length_only"])),
        ("expected calibration error", f"{report['ece']:.3f}"),
        ("Brier score", f"{report['brier']:.3f}"),
        ("log loss (nats)", f"{report['log_loss']:.3f}"),
    ]
    correlation = report["margin_length"]
    if correlation and correlation["pearson"] is not None:
        rows.append(("margin against length difference, r", f"{correlation['pearson']:.3f}"))
    show.table(title, ("", ""), rows)
