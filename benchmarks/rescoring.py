"""What each part of re-scoring gains: log-probs of chosen tokens alone, no padding, each prompt once, a reference that
is read from disk.

The passes are those of a preference trainer: sixteen rows at a time in the order of the data, the policy's log-probs
forward, a logistic loss of rows 2i against 2i + 1, and backward.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks import measure, models
from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table

TITLE = "Re-scoring"
MICRO = 16
GROUP = 8
CONTEXT = 1024
BETA = 0.1
PLAIN = "all logits, padded"
STEPS = (PLAIN, "padded", "buckets", "packed", "shared")
"""Each does one thing more than the one before it. The first is what one writes by hand."""
SETS = {"pairs": "real pairs", "groups": f"groups of {GROUP} responses a prompt"}
ENCODED = list[tuple[list[int], list[int]]]


def rows_of(kind: str, count: int) -> ENCODED:
    """(prompt, response) ids. 'pairs': both responses of the first ``count`` pairs that fit the context. 'groups':
    eight responses of the corpus, of different lengths, to each of ``count`` prompts."""
    tokenizer = models.tokenizer()

    def ids(texts: Sequence[str]) -> list[list[int]]:
        return list(tokenizer(list(texts), add_special_tokens=False)["input_ids"])

    pairs = models.pairs()[: 4 * count]
    prompts = [[tokenizer.bos_token_id, *x] for x in ids([p["prompt"] for p in pairs])]
    ends = [tokenizer.eos_token_id]
    both = [[x + ends for x in ids([p[k] for p in pairs])] for k in ("chosen", "rejected")]
    room = CONTEXT - max(len(x) for side in both for x in side)
    fit = [i for i, p in enumerate(prompts) if len(p) <= room][:count]
    if kind == "pairs":
        return [(prompts[i], side[i]) for i in fit for side in both]
    responses = [side[i] for i in fit for side in both]
    return [(prompts[i], responses[(GROUP * n + k) % len(responses)]) for n, i in enumerate(fit) for k in range(GROUP)]


def needed(rows: ENCODED, config: Any) -> float:
    """Floating-point operations of a forward and a backward pass over what must be computed: every distinct prompt
    once and every response once; in the last layer only keys and values but where a state predicts a response's
    token; the head at those alone. A backward pass counts as two forward ones."""
    wide, layers = config.hidden_size, config.num_hidden_layers
    size = getattr(config, "head_dim", None) or wide // config.num_attention_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    stored = 2 * 2 * wide * keys
    rest = 2 * (2 * wide * queries + 3 * wide * config.intermediate_size)
    tokens = seen = read = seen_read = labels = 0
    for prompt in {tuple(p) for p, _ in rows}:
        before = len(prompt)
        tokens, seen = tokens + before, seen + before * (before + 1) // 2
        read, seen_read = read + 1, seen_read + before
        for own in (len(r) for p, r in rows if tuple(p) == prompt):
            behind = own * before + own * (own + 1) // 2
            tokens, seen, labels = tokens + own, seen + behind, labels + own
            read, seen_read = read + own - 1, seen_read + behind - before - own
    linear = layers * stored * tokens + rest * ((layers - 1) * tokens + read)
    attention = 4 * queries * ((layers - 1) * seen + seen_read)
    return 3.0 * (linear + attention + 2 * wide * config.vocab_size * labels)


def passes(model: Any, rows: ENCODED, step: str) -> Callable[[], list[float]]:
    """A function that makes the whole pass, gradients left in the model; it gives the log-probs of every row's
    response, one after the other."""
    import torch

    from guerdon.worlds import Snapshots
    from guerdon.worlds.text import TextWorld

    world = TextWorld(model, layout="padded" if step == PLAIN else step)
    snapshots = Snapshots(model)

    def logp(part: Any) -> Any:
        return _plainly(model, part) if step == PLAIN else world.rescore(snapshots, part).logp["policy"]

    def whole() -> list[float]:
        model.zero_grad(set_to_none=True)
        found: list[float] = []
        for part in _micro(rows):
            each = logp(part)
            total = each.sum(1)
            (-torch.nn.functional.logsigmoid(BETA * (total[0::2] - total[1::2]))).sum().backward()
            found += each.detach()[part.payload.response].tolist()
        return found

    return whole


def _micro(rows: ENCODED) -> Iterator[Any]:
    from guerdon.batch import Samples
    from guerdon.worlds.text import token_rows

    for at in range(0, len(rows), MICRO):
        part = rows[at : at + MICRO]
        yield Samples(token_rows([p for p, _ in part], [r for _, r in part]), list(range(len(part))))


def _plainly(model: Any, part: Any) -> Any:
    """Log-probs [N,L] of a right-padded batch from the logits of all its tokens."""
    import torch

    payload = part.payload
    logits = model(input_ids=payload.ids, attention_mask=payload.attention.long(), use_cache=False).logits[:, :-1]
    every = logits.log_softmax(-1).gather(2, payload.ids[:, 1:, None]).squeeze(2)
    return torch.nn.functional.pad(every, (1, 0)) * payload.response


def arm(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Forward and backward of every row, in one way: seconds, peak memory, log-probs and the gradient's norm."""
    model = models.causal_lm(**settings["model"])
    rows = rows_of(settings["kind"], settings["count"])
    whole = passes(model, rows, settings["step"])
    with measure.cost() as first:  # what an allocator keeps would hide the memory of later passes
        found = whole()
    seconds = float("inf")
    for _ in range(settings["repeats"]):
        with measure.cost() as paid:
            found = whole()
        seconds = min(seconds, paid.seconds)
    norm = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None) ** 0.5
    return {
        "seconds": seconds,
        "memory": first.memory,
        "logp": found,
        "norm": norm,
        "tokens": sum(len(p) + len(r) for p, r in rows),
        "responses": len(found),
        "needed": needed(rows, model.config),
        "peak": measure.matmul_peak(),
    }


def reference(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds to have the reference's log-probs of every row: computed; computed and kept in an empty cache; read from
    it by a new world, whose model is hashed first."""
    from guerdon.worlds import Frozen, Snapshots
    from guerdon.worlds.text import TextWorld

    model = models.causal_lm(**settings["model"])
    rows = rows_of(settings["kind"], settings["count"])

    def read(folder: str | None, rows: ENCODED) -> list[float]:
        world, snapshots = TextWorld(model, cache=folder), Snapshots(model, reference=Frozen())
        parts = [(part, world.rescore(snapshots, part, ["reference"])) for part in _micro(rows)]
        return [x for part, steps in parts for x in steps.logp["reference"][part.payload.response].tolist()]

    read(None, rows[:MICRO])
    found: dict[str, Any] = {}
    for _ in range(settings["repeats"]):
        with tempfile.TemporaryDirectory() as folder:
            for name, where in (("computed", None), ("computed and kept", folder), ("read from disk", folder)):
                with measure.cost() as paid:
                    values = read(where, rows)
                truth = found.setdefault("computed", {"values": values})["values"]
                far = max(abs(a - b) for a, b in zip(truth, values, strict=True))
                least = min(paid.seconds, found.get(name, {}).get("seconds", float("inf")))
                found[name] = {**found.get(name, {}), "seconds": least, "difference": far}
    del found["computed"]["values"]
    return found


def run(
    pairs: int = 64, prompts: int = 16, repeats: int = 3, threads: int = 2, model: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Every step on both sets of rows, each in a process of its own; then the reference."""
    sets: dict[str, Any] = {}
    for kind, count in (("pairs", pairs), ("groups", prompts)):
        plain = {"kind": kind, "count": count, "repeats": repeats, "model": dict(model or {})}
        found = {s: fresh("benchmarks.rescoring:arm", {**plain, "step": s}, threads=threads) for s in STEPS}
        for x in found.values():
            x["difference"] = max(abs(a - b) for a, b in zip(found[PLAIN]["logp"], x["logp"], strict=True))
            x["of the norm"] = abs(x["norm"] / found[PLAIN]["norm"] - 1)
        for x in found.values():
            del x["logp"]
        sets[kind] = {
            "count": count,
            "steps": found,
            "reference": fresh("benchmarks.rescoring:reference", plain, threads=threads),
        }
    return {"threads": threads, "sets": sets}


def page(result: Mapping[str, Any]) -> Section:
    """The steps one after the other on both sets, then the reference."""
    parts, ratios, far, norm = [], [], 0.0, 0.0
    for kind, x in result["sets"].items():
        parts.append(_shown(kind, x))
        ratios += _ratios(kind, x)
        far = max(far, *(s["difference"] for s in (*x["steps"].values(), *x["reference"].values())))
        norm = max(norm, *(s["of the norm"] for s in x["steps"].values()))
    ratios.append(Ratio("largest difference of a log-prob between layouts", far, 1e-4, at_least=False))
    ratios.append(Ratio("largest relative difference of a gradient's norm", norm, 1e-4, at_least=False))
    text = f"""
A pass forward and backward over {MICRO} rows at a time, as a preference trainer makes it, on {result["threads"]}
thread(s). Each line does one thing more than the line above it, so that its gain is its own:

- *{PLAIN}*: transformers' model on rows padded to the longest of the sixteen, log-softmax of all its logits;
- *padded*: the same block, but the head and its log-softmax at the responses' tokens alone, fused and in chunks;
- *buckets*: rows beside rows of similar length;
- *packed*: no padding; the last layer is finished only where a state predicts a response's token;
- *shared*: each prompt once for all its responses. This is what `TextWorld` does by default.

FLOP/s count what must be computed, whatever a line computes: with T the tokens of every distinct prompt and every
response, R those whose state predicts a response's token, S and S′ the tokens that they see, d, q, k, f the widths of
the model, its queries, its keys and its MLP, n layers, V words and Y response tokens,
3·[4dk·nT + (4dq + 6df)·((n − 1)T + R) + 4q·((n − 1)S + S′) + 2dV·Y]. The peak is that of one matrix product of 2048² at
the same number of threads.

{"".join(parts)}"""
    return Section(text, ratios)


def _shown(kind: str, x: Mapping[str, Any]) -> str:
    first = x["steps"][STEPS[0]]
    rows, before = [], first["seconds"]
    for name, s in x["steps"].items():
        rate = s["needed"] / s["seconds"]
        columns = (s["seconds"], before / s["seconds"], first["seconds"] / s["seconds"], s["memory"] / 1e6)
        rows.append([name, *columns, rate / 1e9, f"{rate / s['peak']:.0%}", s["difference"]])
        before = s["seconds"]
    head = ("", "seconds", "gain", "gain in all", "peak, MB", "GFLOP/s needed", "of the peak", "log-probs apart")
    kept = [
        [name, s["seconds"], x["reference"]["computed"]["seconds"] / s["seconds"], s["difference"]]
        for name, s in x["reference"].items()
    ]
    what = f"{first['tokens']:,} tokens with their prompts, {first['responses']:,} of them responses'"
    return f"""
{x["count"]} {SETS[kind]} ({what}):

{table(head, rows)}

The reference's log-probs of the same rows, without gradient; the time to read them includes hashing the model:

{table(("", "seconds", "gain", "log-probs apart"), kept)}
"""


def _ratios(kind: str, x: Mapping[str, Any]) -> list[Ratio]:
    seconds = {name: s["seconds"] for name, s in x["steps"].items()}
    memory = {name: s["memory"] for name, s in x["steps"].items()}
    kept = x["reference"]
    found = [Ratio(f"{kind}: time of {a} over {b}", seconds[a] / seconds[b], 1.0) for a, b in pairwise(STEPS)]
    return [
        *found,
        Ratio(f"{kind}: time of {PLAIN} over shared", seconds[PLAIN] / seconds["shared"], 3.0),
        Ratio(f"{kind}: memory of {PLAIN} over shared", memory[PLAIN] / max(1, memory["shared"]), 2.0),
        Ratio(
            f"{kind}: a reference computed over read",
            kept["computed"]["seconds"] / kept["read from disk"]["seconds"],
            5.0,
        ),
    ]
