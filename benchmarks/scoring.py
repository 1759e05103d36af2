"""Scoring with a reward model, beside the loop that people write around AutoModelForSequenceClassification.

Two sets of rows: both answers of each real pair, and sixteen answers a prompt (drawn from all answers of the corpus, as
best-of-n has them), everything timed from texts to scores.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import measure, models
from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table

TITLE = "Scoring with a reward model"
BATCH = 8
CONTEXT = 1024
ANSWERS = 16
MEMBERS = 8
TRIED = [{"dtype": dtype, "threads": threads} for dtype in ("float32", "bfloat16") for threads in (1, 2)]

Rows = list[tuple[str, str]]


def rows_of(kind: str, count: int, tokenizer: Any) -> Rows:
    """(prompt, response) texts. 'pairs': both answers of ``count`` pairs. 'best of 16': sixteen answers to each of
    ``count`` prompts. Prompts that leave no room in the context for the longest answer are passed over."""
    import torch

    pairs = models.pairs()
    answers = [p[k] for p in pairs for k in ("chosen", "rejected")]
    sizes = {t: len(ids) for t, ids in _lengths(tokenizer, [*(p["prompt"] for p in pairs), *answers])}
    room = CONTEXT - 1 - max(sizes[a] for a in answers)
    fit = [p for p in pairs if sizes[p["prompt"]] <= room][:count]
    if kind == "pairs":
        return [(p["prompt"], p[k]) for p in fit for k in ("chosen", "rejected")]
    drawn = torch.randint(len(answers), (len(fit), ANSWERS), generator=torch.Generator().manual_seed(0)).tolist()
    return [(p["prompt"], answers[i]) for p, numbers in zip(fit, drawn, strict=True) for i in numbers]


def _lengths(tokenizer: Any, texts: Sequence[str]) -> Any:
    return zip(texts, tokenizer(list(texts), add_special_tokens=False)["input_ids"], strict=True)


def write_model(folder: str) -> None:
    """A sequence classifier with one label and random weights, whose scores spread about 1, and its tokenizer."""
    import torch
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(0)
    model = LlamaForSequenceClassification(models.config(num_labels=1, max_position_embeddings=CONTEXT))
    with torch.no_grad():
        model.score.weight.normal_(0, model.config.hidden_size**-0.5)
    model.save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)


def peer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The usual loop: eight rows at a time in their order, padded to the longest of them, under inference mode."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(settings["folder"])
    dtype = getattr(torch, settings["dtype"])
    model = AutoModelForSequenceClassification.from_pretrained(settings["folder"], dtype=dtype).eval()
    rows = rows_of(settings["kind"], settings["count"], tokenizer)

    @torch.inference_mode()
    def score(rows: Rows) -> list[float]:
        out = []
        for start in range(0, len(rows), BATCH):
            texts = [prompt + response + tokenizer.eos_token for prompt, response in rows[start : start + BATCH]]
            batch = tokenizer(texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt")
            batch.pop("token_type_ids", None)
            out += model(**batch).logits[:, 0].float().tolist()
        return out

    return _timed(score, rows, settings["repeats"])


def ours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``ScalarRewardModel.score_texts`` of the same rows."""
    import torch

    model = _reward_model(settings)
    rows = rows_of(settings["kind"], settings["count"], model.tokenizer)

    def score(rows: Rows) -> list[float]:
        out: torch.Tensor = model.score_texts([p for p, _ in rows], [r for _, r in rows])
        return out[:, 0].tolist()

    return {"tokens": sum(map(len, _encoded(model, rows))), **_timed(score, rows, settings["repeats"])}


def steps(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of each part of our arm, beside its plain twin's."""
    model = _reward_model(settings)
    rows = rows_of(settings["kind"], settings["count"], model.tokenizer)
    encoded = _encoded(model, rows)
    parts: dict[str, Callable[[], Any]] = {
        "tokenising, a call a row": lambda: [model.encode(p, r) for p, r in rows],
        "tokenising, one call": lambda: _encoded(model, rows),
        "scores, transformers' own forward in length buckets": lambda: model.score_plainly(encoded),
        "scores, each prompt computed once": lambda: model.score_encoded(encoded),
    }
    return {name: measure.best_of(call, settings["repeats"]) for name, call in parts.items()}


def ensemble(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of one score a row and of MEMBERS scores a row from the shared backbone, taken in turn."""
    from guerdon.rewards.models import ScalarRewardModel

    one = _reward_model(settings)
    many = ScalarRewardModel(one.backbone, one.tokenizer, MEMBERS, rendering=one.rendering)
    rows = rows_of(settings["kind"], settings["count"], one.tokenizer)
    prompts, responses = [p for p, _ in rows], [r for _, r in rows]
    least = {"one": float("inf"), "many": float("inf")}
    for model in (one, many):
        model.score_texts(prompts[:64], responses[:64])
    for _ in range(settings["repeats"]):
        for name, model in (("one", one), ("many", many)):
            began = time.perf_counter()
            model.score_texts(prompts, responses)
            least[name] = min(least[name], time.perf_counter() - began)
    return least


def _reward_model(settings: Mapping[str, Any]) -> Any:
    import torch

    from guerdon.rewards.models import ScalarRewardModel

    dtype = getattr(torch, settings["dtype"])
    return ScalarRewardModel.from_pretrained(settings["folder"], dtype=dtype, rendering="raw")


def _encoded(model: Any, rows: Rows) -> list[Any]:
    return model.encode_rows([p for p, _ in rows], [r for _, r in rows])


def _timed(score: Callable[[Rows], list[float]], rows: Rows, repeats: int) -> dict[str, Any]:
    score(rows[:64])  # first calls set things up
    seconds, scores = float("inf"), []
    for _ in range(repeats):
        with measure.cost() as paid:
            scores = score(rows)
        seconds = min(seconds, paid.seconds)
    return {"rows": len(rows), "seconds": seconds, "scores": scores}


def run(pairs: int = 500, prompts: int = 32, tried: int = 128, repeats: int = 2) -> dict[str, Any]:
    """The sweep on ``tried`` pairs, then the fastest float32 settings of each on all rows, bfloat16 on the pairs."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder)

        def arm(call: str, kind: str, count: int, setting: Mapping[str, Any]) -> dict[str, Any]:
            plain = {"folder": folder, "kind": kind, "count": count, "repeats": repeats, "dtype": setting["dtype"]}
            return fresh(f"benchmarks.scoring:{call}", plain, threads=setting["threads"])

        sweep = [
            {"arm": name, **s, "seconds": arm(name, "pairs", tried, s)["seconds"]}
            for name in ("peer", "ours")
            for s in TRIED
        ]
        best = {
            (name, dtype): min(
                (x for x in sweep if (x["arm"], x["dtype"]) == (name, dtype)), key=lambda x: x["seconds"]
            )
            for name in ("peer", "ours")
            for dtype in ("float32", "bfloat16")
        }
        sets = {}
        for kind, count in (("pairs", pairs), ("best of 16", prompts)):
            arms = {name: arm(name, kind, count, best[name, "float32"]) for name in ("peer", "ours")}
            sets[kind] = {**arms, "difference": _largest(arms["peer"], arms["ours"])}
        exact = sets["pairs"]["peer"]
        half = {name: arm(name, "pairs", pairs, best[name, "bfloat16"]) for name in ("peer", "ours")}
        mine = best["ours", "float32"]
        found = {
            "sweep": sweep,
            "sets": sets,
            "bfloat16": {name: {**x, "difference": _largest(exact, x)} for name, x in half.items()},
            "steps": {kind: arm("steps", kind, count, mine) for kind, count in (("pairs", tried), ("best of 16", 16))},
            "ensemble": arm("ensemble", "pairs", pairs, mine),
        }
    for each in (*(x for kind in sets.values() for x in (kind["peer"], kind["ours"])), *found["bfloat16"].values()):
        del each["scores"]
    return found


def _largest(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    return max(abs(x - y) for x, y in zip(a["scores"], b["scores"], strict=True))


def page(result: Mapping[str, Any]) -> Section:
    """Both sets, the sweep, bfloat16, what each part takes, and the ensemble."""
    sets, half, both, parts = result["sets"], result["bfloat16"], result["ensemble"], result["steps"]
    columns = ("arm", "dtype", "threads", "seconds")
    shown = [
        [kind, name, x[name]["rows"], x[name]["seconds"], x[name]["rows"] / x[name]["seconds"]]
        for kind, x in sets.items()
        for name in ("peer", "ours")
    ]
    text = f"""
Texts to scores, tokenising included, with a Llama of 5.3 M parameters and one label. The peer is
`AutoModelForSequenceClassification` on the same weights in the loop people write: {BATCH} rows at a time in their
order, padded to the longest, under `torch.inference_mode`. Ours is `ScalarRewardModel.score_texts`: one call of the
tokenizer for all rows, no padding, each prompt computed once for all its responses, the last layer at the scored
position alone. "pairs" are both answers of real pairs (`hh_rlhf`), "best of 16" sixteen answers a prompt,
drawn from all answers there are.

{table(("rows", "arm", "how many", "seconds", "rows a second"), shown)}

Settings tried on fewer rows; the fastest of float32 is what stands above:

{table(columns, [[x[k] for k in columns] for x in result["sweep"]])}

In bfloat16 the peer takes {half["peer"]["seconds"]:.3g} s for the pairs and ours {half["ours"]["seconds"]:.3g} s; the
peer's scores differ from those of float32 by up to {half["peer"]["difference"]:.2g}, ours by up to
{half["ours"]["difference"]:.2g}.

What each part of ours takes, in seconds:

{table(("part", *parts), [[part, *(x[part] for x in parts.values())] for part in parts["pairs"]])}

{MEMBERS} members that share the backbone take {both["many"]:.3g} s for the pairs, one takes {both["one"]:.3g} s.
"""
    ratios = [
        Ratio(f"{kind}: rows a second over the peer's", x["peer"]["seconds"] / x["ours"]["seconds"], 3.0)
        for kind, x in sets.items()
    ]
    ratios += [
        Ratio(f"{kind}: largest difference of a score", x["difference"], 1e-4, at_least=False)
        for kind, x in sets.items()
    ]
    ratios.append(Ratio(f"{MEMBERS} members' time over one's", both["many"] / both["one"], 1.15, at_least=False))
    return Section(text, ratios)
