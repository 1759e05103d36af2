"""``--dry-run`` of the verbs that compute: passes, memory and time from the records and the model's configuration.

No weights are read: the model is built from its configuration on torch's meta device. Rows are counted from all
records, their lengths from the first ``LOOK``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from guerdon.errors import GuerdonError
from guerdon.verbs import rows
from guerdon.verbs.options import (
    EvaluateOptions,
    ExplainOptions,
    LoraOptions,
    RewardOptions,
    SampleOptions,
    ScoreOptions,
    ServeOptions,
)
from guerdon.verbs.plan import MEMORY_RULE, RULE, Plan, Rate, Shape
from guerdon.verbs.preferences import Records, read
from guerdon.verbs.reward import MODEL, check_device, dtype_named, kind_of, part
from guerdon.worlds.text import encode_prompt, encode_response

LOOK = 64
"""Records whose lengths are measured."""

CHARACTERS, TOKENS_AT_ONCE = 3, 8192
"""Characters of a token where no tokenizer is asked, and tokens that a reward model reads at once."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a row: mean and longest, and of its prompt alone."""

    mean: float
    longest: int
    prompt: float


def empty_model(model: str | Path, causal: bool) -> Any:
    """The model of a configuration on the meta device, without weights. Raises GuerdonError where there is none."""
    from transformers import AutoModel, AutoModelForCausalLM

    from guerdon.rewards.models.loading import load_config

    config = load_config(model)
    with torch.device("meta"):
        return (AutoModelForCausalLM if causal else AutoModel).from_config(config).eval()


def lengths(tokenizer: Any, records: Records, context: int | None) -> Lengths:
    """Of the first records' rows, cut at the context."""
    found = []
    for record in records[:LOOK]:
        head = len(encode_prompt(tokenizer, record.prompt))
        for response in record.responses:
            whole = head + len(encode_response(tokenizer, record.prompt, response))
            found.append((head, whole if context is None else min(whole, context)))
    if not found:
        return Lengths(0.0, 0, 0.0)
    return Lengths(
        sum(n for _, n in found) / len(found), max(n for _, n in found), sum(h for h, _ in found) / len(found)
    )


def train_reward(data: str | Path, chosen: RewardOptions, out: str | Path, rate: Rate | None = None) -> Plan:
    """``train-reward``: rows through the backbone with and without gradient."""
    from guerdon.rewards.models.loading import load_tokenizer

    check_device(chosen.device)
    dtype = dtype_named(chosen.dtype)
    records = read(data, chosen.format, chosen.on_error)
    train, test = part(records, chosen.held_out, chosen.seed)
    model, tokenizer = empty_model(chosen.model, causal=False), load_tokenizer(chosen.model)
    shape = Shape.of(model)
    context = min((x for x in (shape.context, chosen.max_length) if x is not None), default=None)
    long = lengths(tokenizer, records, context)
    pairs, tested = (sum(len(r.comparisons) for r in rs) for rs in (train, test))
    if kind_of(chosen) == "embedding":
        texts = len(
            {r.response_text(i) for rs in (train, test) for r in rs for c in r.comparisons for i in (c.first, c.second)}
        )
        passes = {"texts embedded, at most": texts * len(chosen.features.split(","))}
        trained, seen, learned = 0, texts * len(chosen.features.split(",")), 0
        micro = max(1, 8192 // max(1, long.longest))
    else:
        learned, seen = 2 * pairs * chosen.epochs, 2 * tested
        updates = chosen.epochs * -(-pairs // chosen.batch)
        passes = {"rows forward and backward": learned, "rows forward": seen, "updates": updates}
        trained = trained_weights(chosen.lora, model, shape.weights)
        micro = 2 * chosen.batch
    work = shape.forward(seen * long.mean, long.mean) + 3 * shape.forward(learned * long.mean, long.mean)
    memory = memory_of(shape, trained, 0, micro if learned else 0, long.longest, dtype, head=False)
    calls = seen / max(1, micro) + 3 * learned / max(1, micro)
    return Plan(
        "train-reward",
        (
            about_records(data, records),
            ("comparisons", f"{pairs} to train on, {tested} held out"),
            ("model", f"{chosen.model}: {shape.weights:,} weights, {trained:,} of them trained"),
            about_tokens(long),
        ),
        passes,
        memory,
        seconds_of(rate, chosen.device, dtype, work, calls, shape),
        f"model, evaluation and report in {out}",
        (RULE, MEMORY_RULE),
    )


def score(name: str, data: str | Path, chosen: ScoreOptions, out: str | Path | None, rate: Rate | None = None) -> Plan:
    """``score``: a row through the reward's model for every response."""
    samples = rows.responses(data, chosen.format, chosen.on_error)
    shape = reward_shape(name)
    columns = ", ".join(samples.columns) or "none"
    needs = (("responses", f"{len(samples)} in {data}"), ("columns", columns), ("reward", described(name, shape)))
    writes = "nothing" if out is None else f"scores.jsonl in {out}"
    if shape is None:
        return Plan("score", needs, {"rows scored": len(samples)}, writes=writes)
    words = max(1.0, sum(len(t) for t in samples.texts()) / max(1, len(samples)) / CHARACTERS)
    plan = _scored("score", len(samples), words, shape, chosen.device, rate)
    return replace(plan, needs=needs, writes=writes)


def serve(name: str, chosen: ServeOptions) -> Plan:
    """``serve``: the weights of the reward's model; nothing is computed before a request comes."""
    shape = reward_shape(name)
    where = ("listens on", f"{chosen.host} port {chosen.port}")
    memory = {} if shape is None else {"weights": 4 * shape.weights}
    return Plan("serve", (("reward", described(name, shape)), where), memory=memory)


def evaluate(folder: str | Path, data: str | Path, chosen: EvaluateOptions, rate: Rate | None = None) -> Plan:
    """``evaluate``: both rows of every comparison through the reward's model."""
    records = read(data, chosen.format, chosen.on_error)
    shape = reward_shape(folder)
    if shape is None:
        raise GuerdonError(f"{folder} must be a folder that train-reward wrote.")
    seen = 2 * sum(len(r.comparisons) for r in records)
    words = max(1.0, sum(len(r.prompt_text) + len(r.response_text(0)) for r in records) / len(records) / CHARACTERS)
    plan = _scored("evaluate", seen, words, shape, chosen.device, rate)
    return replace(plan, needs=(about_records(data, records), ("reward", described(str(folder), shape))))


def explain(rewards: Sequence[str], data: str | Path, chosen: ExplainOptions) -> Plan:
    """``explain``: the whole file is scored once by every reward."""
    samples = rows.responses(data, chosen.format, chosen.on_error)
    needs = (("responses", f"{len(samples)} in {data}"), ("columns", ", ".join(samples.columns) or "none"))
    shapes = [(name, reward_shape(name)) for name in rewards]
    passes = {f"rows scored by {name}": len(samples) for name, _ in shapes}
    memory = {f"weights of {name}": 4 * shape.weights for name, shape in shapes if shape is not None}
    return Plan("explain", (*needs, *(("reward", described(n, shape)) for n, shape in shapes)), passes, memory)


def _scored(verb: str, count: int, words: float, shape: Shape, device: str, rate: Rate | None) -> Plan:
    """Rows of about so many tokens forward through a reward's model."""
    work = shape.forward(count * words, words)
    seconds = seconds_of(rate, device, torch.float32, work, count * words / TOKENS_AT_ONCE + 1, shape)
    together = max(1, min(count, int(TOKENS_AT_ONCE / words)))
    memory = {
        "weights": 4 * shape.weights,
        "activations": shape.activations(together, math.ceil(words), 4) // shape.layers,  # one layer at a time
    }
    return Plan(verb, (), {"rows forward": count}, memory, seconds, notes=(RULE, MEMORY_RULE))


def sample(data: str | Path, chosen: SampleOptions, out: str | Path, rate: Rate | None = None) -> Plan:
    """``sample``: every response drawn once and scored once."""
    from guerdon.rewards.models.loading import load_tokenizer

    if chosen.model is None or chosen.reward is None:
        raise GuerdonError("Best of n draws from a policy and asks a reward; give both --model and --reward.")
    prompts = rows.prompts(data)
    model, tokenizer = empty_model(chosen.model, causal=True), load_tokenizer(chosen.model)
    shape, dtype = Shape.of(model), dtype_named(chosen.dtype)
    head = [len(encode_prompt(tokenizer, p)) for p in prompts.messages[:LOOK]]
    mean, limit = sum(head) / len(head), chosen.sampling.limit
    n = len(prompts) * chosen.best_of
    reward = reward_shape(chosen.reward)
    work = shape.forward(len(prompts) * mean + n * limit, mean + limit)
    work += 0 if reward is None else reward.forward(n * (mean + limit), mean + limit)
    calls = -(-len(prompts) // chosen.batch) * limit
    at_once = min(16384, int(chosen.batch * chosen.best_of * (mean + limit)))
    size = dtype.itemsize
    memory = {
        "weights": shape.weights * size,
        "key-value cache": 2 * at_once * shape.layers * shape.width * size,
        "logits": 4 * max(1, at_once // int(mean + limit)) * shape.vocabulary,
    }
    memory |= {} if reward is None else {"reward model": 4 * reward.weights}
    return Plan(
        "sample",
        (
            ("prompts", f"{len(prompts)} in {data}, about {mean:.0f} tokens each"),
            ("model", f"{chosen.model}: {shape.weights:,} weights"),
            ("reward", described(chosen.reward, reward)),
        ),
        {"responses drawn": n, "tokens drawn, at most": n * limit, "rows scored by the reward": n},
        memory,
        seconds_of(rate, chosen.device, dtype, work, calls, shape),
        f"best.jsonl in {out}",
        (RULE, MEMORY_RULE),
    )


def reward_shape(name: str | Path) -> Shape | None:
    """The shape of a saved reward model's backbone, from its configuration; None for a reward that is no saved model.
    Raises GuerdonError where there is nothing of this name."""
    import json

    path = Path(name)
    if path.is_file() or (":" in str(name) and not path.exists()):
        return None
    if not path.exists():
        raise GuerdonError(f"{path} does not exist; give the folder that `guerdon train-reward … --out` wrote.")
    inner = path / MODEL if (path / MODEL).is_dir() else path
    about = inner / "reward_model.json"
    if not about.is_file():
        raise GuerdonError(f"A saved reward model was expected in {path}, but it holds no reward_model.json.")
    kept = json.loads(about.read_text(encoding="utf-8"))
    base = inner / "backbone" if (inner / "backbone").is_dir() else kept.get("base") or kept.get("model")
    return None if base is None else Shape.of(empty_model(base, causal=False))


def described(name: str, shape: Shape | None) -> str:
    """A model for people: its name, and its number of weights where its shape is known."""
    return name if shape is None else f"{name}: {shape.weights:,} weights"


def about_records(data: str | Path, records: Records) -> tuple[str, str]:
    """The line of a plan's needs on records."""
    return "records", f"{len(records)} in {data}"


def about_tokens(long: Lengths) -> tuple[str, str]:
    """The line of a plan's needs on the lengths of rows, in tokens."""
    return "tokens a row", f"{long.mean:.0f} on average, {long.longest} at most (first {LOOK} records)"


def trained_weights(lora: LoraOptions, model: Any, weights: int) -> int:
    """Weights that an optimiser sees; with LoRA, rank · (in + out) of every linear layer that gets an adapter."""
    if not lora.rank:
        return weights
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    named = None if lora.targets == "all-linear" else tuple(lora.targets.split(","))
    linear = [
        m
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and (m is not head if named is None else name.endswith(named))
    ]
    return sum(lora.rank * (m.in_features + m.out_features) for m in linear)


def memory_of(
    shape: Shape, trained: int, copies: int, rows: int, length: int, dtype: torch.dtype, head: bool = True
) -> dict[str, int]:
    """Bytes by what holds them, for a forward and backward pass of ``rows`` rows of ``length`` tokens; copies: weights
    of snapshots beside the model; head: whether rows meet the vocabulary. What is 0 is left out."""
    size = dtype.itemsize
    found = {
        "weights": shape.weights * size,
        "copies of the weights": copies * size,
        "gradients": trained * size,
        "optimiser": 2 * trained * size,
        "activations": shape.activations(rows, length, size),
        "logits": shape.logits(rows * length) if head else 0,
    }
    return {name: value for name, value in found.items() if value}


def seconds_of(rate: Rate | None, device: str, dtype: torch.dtype, work: float, calls: float, shape: Shape) -> float:
    """Seconds of ``work`` floating-point operations in ``calls`` passes, at ``rate`` or at this machine's own."""
    measured = rate or Rate.measured(device, dtype)
    return measured.seconds(work, calls, shape.layers)
