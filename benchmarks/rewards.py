"""Fitting a reward model on real pairs, by guerdon and by TRL's RewardTrainer: same model, pairs, batch and optimiser.

Timed from texts to the last update: tokenising and updates; not the import, the model's loading or the held-out
judgement. Memory is the peak above what was held after import and model load.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure, models
from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table
from benchmarks.scoring import write_model

TITLE = "Fitting a reward model"
MAX_LENGTH = 512
BATCH = 16
RATE = 1e-4
BATCHES = {"micro": (1, 4, 16), "grouped": (False, True), "threads": (1, 2), "bf16": (False, True)}
"""What is tried of the peer, one choice after the other, each with the best of those before it."""

Records = list[dict[str, str]]


def write_data(folder: str, pairs: int, held_out: int) -> None:
    """Pairs to fit and held-out pairs, whose rows with their end token fit the maximum length."""
    tokenizer, fit = models.tokenizer(), []
    for p in models.pairs():
        if len(fit) == pairs + held_out:
            break
        if all(len(tokenizer(p["prompt"] + p[k])["input_ids"]) < MAX_LENGTH for k in ("chosen", "rejected")):
            fit.append(p)
    (Path(folder) / "pairs.json").write_text(json.dumps({"train": fit[:pairs], "held_out": fit[pairs:]}))


def data(settings: Mapping[str, Any]) -> tuple[Records, Records]:
    """What ``write_data`` wrote, as many of it as an arm asks for."""
    kept = json.loads((Path(settings["folder"]) / "pairs.json").read_text())
    return kept["train"][: settings["pairs"]], kept["held_out"][: settings["held_out"]]


def order(pairs: int, seed: int) -> list[int]:
    """The order in which ours takes the pairs of one pass; the peer's arm 'first batch' is given its rows in it."""
    import torch

    from guerdon.batch import Seed

    return torch.randperm(pairs, generator=Seed(seed).child("order", 0).torch()).tolist()


def ours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``fit_scalar_model``, one pass; settings: folder, pairs, held_out, seed, bf16."""
    import torch

    from guerdon.batch import Preference, Seed
    from guerdon.rewards.models import ScalarRewardModel
    from guerdon.training.reward_models import fit_scalar_model

    train, rest = data(settings)
    model = ScalarRewardModel.from_pretrained(settings["folder"], max_length=MAX_LENGTH, rendering="raw")
    with measure.cost() as cost:
        records = [Preference.pair(p["prompt"], p["chosen"], p["rejected"]) for p in train]
        _, history = fit_scalar_model(
            records,
            model,
            epochs=1,
            lr=RATE,
            pairs_at_once=BATCH,
            warmup=0,
            weight_decay=0.0,
            seed=Seed(settings["seed"]),
            compute=torch.bfloat16 if settings["bf16"] else None,
            fused=True,
        )
    return _told(settings, cost, [h["loss"] for h in history], model.backbone, model.head.weight, model.tokenizer, rest)


def trl(settings: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's trainer; settings also: micro (pairs a forward pass), grouped (batches of similar length), bf16, ordered
    (our order instead of a random one)."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    disable_progress_bar()
    train, rest = data(settings)
    tokenizer = AutoTokenizer.from_pretrained(settings["folder"])
    model = AutoModelForSequenceClassification.from_pretrained(settings["folder"])
    strategy: dict[str, Any] = {"train_sampling_strategy": "random"}
    if settings["ordered"]:
        strategy = {"train_sampling_strategy": "sequential"}
        train = [train[i] for i in order(len(train), settings["seed"])]
    elif settings["grouped"]:
        strategy = {"train_sampling_strategy": "group_by_length", "remove_unused_columns": False}
    with measure.cost() as cost, tempfile.TemporaryDirectory() as folder:
        records: list[dict[str, Any]] = list(train)
        if settings["grouped"]:
            records = [{**p, "length": len(p["prompt"]) + max(len(p["chosen"]), len(p["rejected"]))} for p in records]
        options = RewardConfig(
            output_dir=folder,
            max_length=MAX_LENGTH,
            per_device_train_batch_size=settings["micro"],
            gradient_accumulation_steps=BATCH // settings["micro"],
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            weight_decay=0.0,
            max_grad_norm=1.0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=settings["bf16"],
            gradient_checkpointing=False,
            seed=settings["seed"],
            disable_tqdm=True,
            **strategy,
        )
        trainer = RewardTrainer(
            model=model, args=options, train_dataset=Dataset.from_list(records), processing_class=tokenizer
        )
        trainer.train()
    losses = [x["loss"] for x in trainer.state.log_history if "loss" in x]
    return _told(settings, cost, losses, model.model, model.score.weight, tokenizer, rest)


def judged(body: Any, weight: Any, tokenizer: Any, pairs: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Accuracy and mean Bradley–Terry loss of pairs by the plain backbone, one row at a time: one judge for both."""
    import torch
    import torch.nn.functional as F

    body.eval()

    def score(prompt: str, response: str) -> torch.Tensor:
        ids = torch.tensor([[*tokenizer(prompt + response)["input_ids"], tokenizer.eos_token_id]])
        return (body(input_ids=ids).last_hidden_state[0, -1].float() @ weight[0].float()).detach()

    with torch.no_grad():
        gap = torch.stack([score(p["prompt"], p["chosen"]) - score(p["prompt"], p["rejected"]) for p in pairs])
    return {"accuracy": (gap > 0).float().mean().item(), "loss": -F.logsigmoid(gap).mean().item()}


def _told(
    settings: Mapping[str, Any],
    cost: measure.Cost,
    losses: Sequence[float],
    body: Any,
    weight: Any,
    tokenizer: Any,
    rest: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    return {
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu,
        "pairs_a_second": settings["pairs"] / cost.seconds,
        "memory_mb": cost.memory / 1e6,
        "losses": list(losses),
        "held_out": judged(body, weight, tokenizer, rest) if rest else None,
    }


def run(pairs: int = 192, held_out: int = 96, tried: int = 32) -> dict[str, Any]:
    """The sweeps on ``tried`` pairs, both arms at their fastest on ``pairs``, and the first batch in one order."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder)
        write_data(folder, pairs, held_out)
        began = time.perf_counter()

        def arm(call: str, count: int, rest: int = 0, **setting: Any) -> dict[str, Any]:
            threads = setting.pop("threads")
            plain = {"folder": folder, "pairs": count, "held_out": rest, "seed": 0, **setting}
            return fresh(f"benchmarks.rewards:{call}", plain, threads=threads)

        best: dict[str, Any] = {"micro": BATCH, "grouped": False, "threads": 2, "bf16": False, "ordered": False}
        sweep: list[dict[str, Any]] = []
        for name, values in BATCHES.items():
            for value in values:
                setting = {**best, name: value}
                if not any(all(x[k] == v for k, v in setting.items()) for x in sweep):
                    sweep.append({**setting, **_cost(arm("trl", tried, **setting))})
            fastest = min(sweep, key=lambda x: x["seconds"])
            best = {k: fastest[k] for k in best}
        choices = [{"threads": n, "bf16": half} for half in BATCHES["bf16"] for n in BATCHES["threads"]]
        mine = [{**c, **_cost(arm("ours", tried, **c))} for c in choices]
        fastest = min(mine, key=lambda x: x["seconds"])
        own = {"threads": fastest["threads"], "bf16": fastest["bf16"]}
        exact = {**best, "bf16": False, "grouped": False, "ordered": True}
        first = arm("trl", BATCH, **exact)["losses"][0]
        same = arm("ours", BATCH, **{**own, "bf16": False})["losses"][0]
        return {
            "sweep": sweep,
            "ours_sweep": mine,
            "best": best,
            "arms": {
                "TRL": arm("trl", pairs, held_out, **best),
                "guerdon": arm("ours", pairs, held_out, **own),
            },
            "first": {"TRL": first, "guerdon": same},
            "pairs": pairs,
            "seconds": time.perf_counter() - began,
        }


def _cost(told: Mapping[str, Any]) -> dict[str, float]:
    return {k: told[k] for k in ("seconds", "cpu_seconds", "memory_mb")}


def page(result: Mapping[str, Any]) -> Section:
    """Both arms, the sweeps, and the first batch's loss."""
    mine, theirs, first = result["arms"]["guerdon"], result["arms"]["TRL"], result["first"]
    shown = [
        [
            name,
            *(x[k] for k in ("seconds", "cpu_seconds", "pairs_a_second", "memory_mb")),
            *(x["held_out"][k] for k in ("accuracy", "loss")),
        ]
        for name, x in result["arms"].items()
    ]
    columns = ("micro", "grouped", "threads", "bf16", "seconds", "cpu_seconds", "memory_mb")
    text = f"""
Texts to a fitted reward model, tokenising included: a Llama of 5.3 M parameters with one label, {result["pairs"]} real
pairs (`hh_rlhf`) of at most {MAX_LENGTH} tokens a row, one pass in batches of {BATCH} pairs, Bradley–Terry, AdamW at
{RATE:g} falling linearly to 0, gradient norm clipped at 1. The peer is TRL's `RewardTrainer` on the same weights, ours
is `fit_scalar_model`: no padding, each prompt computed once for both its responses, the last layer at the scored
position alone, passes of about a thousand tokens. Each arm draws its own order of the pairs.

{
        table(
            (
                "arm",
                "seconds",
                "CPU seconds",
                "pairs a second",
                "MB above the model",
                "held-out accuracy",
                "held-out loss",
            ),
            shown,
        )
    }

What was tried of TRL on fewer pairs, one choice after the other, each with the fastest of those before it:

{table(columns, [[x[k] for k in columns] for x in result["sweep"]])}

Of ours:

{table(("threads", "bf16", "seconds", "CPU seconds", "MB"), [list(x.values()) for x in result["ours_sweep"]])}

The loss of the first batch, in the same order and before any update, is {first["TRL"]:.6f} by TRL and
{first["guerdon"]:.6f} by guerdon.
"""
    return Section(
        text,
        [
            Ratio("pairs a second over TRL's", mine["pairs_a_second"] / theirs["pairs_a_second"], 3.0),
            Ratio("first batch: difference of the loss", abs(first["TRL"] - first["guerdon"]), 1e-4, at_least=False),
        ],
    )
