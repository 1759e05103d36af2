"""Offline alignment of the small Llama on real pairs, by guerdon and by TRL: one arm a function.

Settings of every arm: method ('dpo', 'simpo', 'kto'), pairs (how many to train on, one pass), batch (pairs an update),
seed, order (a list of batches of pair numbers that both follow, or None for an order of their own), held_out (how many
further pairs the loss is measured on afterwards), and what the sweeps try. Timed from texts to the last update:
tokenising, reference and updates; not the import, the model's making or the held-out loss. Memory is the peak above
what was held after import and model load.

KTO reads every pair as two labelled rows (2i the chosen one of pair i, 2i + 1 the rejected one): there batch and micro
count rows, and order holds batches of row numbers. Given an order, the mismatched rows are TRL's (a batch's responses,
moved on by one); otherwise each arm makes its own. An order of TRL's own is a shuffled one, since TRL's KTO trainer
reads rows as they stand, with settings.grouped in batches of similar length. settings.together (ours, KTO): both
responses of a prompt stand in one batch.
"""

import copy
import random
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from benchmarks import measure, models

MAX_LENGTH = 512
RATE = 3e-4
BETA = {"dpo": 0.1, "simpo": 2.0, "kto": 0.1}
SIMPO_MARGIN = 0.5
"""γ/β."""


def data(pairs: int, held_out: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Pairs to train on and held-out pairs; both rows of each fit the maximum length."""
    tokenizer = models.tokenizer()
    fit = []
    for p in models.pairs():
        if len(fit) == pairs + held_out:
            break
        longest = max(len(tokenizer(p["prompt"] + p[k])["input_ids"]) for k in ("chosen", "rejected"))
        if longest + 1 <= MAX_LENGTH:
            fit.append(p)
    return fit[:pairs], fit[pairs:]


def held_out_loss(model: Any, reference: Any, pairs: Sequence[Mapping[str, str]], method: str) -> float:
    """Mean DPO (SimPO, KTO at z₀ = 0) loss of pairs by the plain model, one row at a time: the same judge for every
    arm."""
    import torch
    import torch.nn.functional as F

    tokenizer = models.tokenizer()
    beta, losses = BETA[method], []

    def total(of: Any, prompt: str, response: str) -> tuple[torch.Tensor, int]:
        before = tokenizer(prompt)["input_ids"]
        row = [*tokenizer(prompt + response)["input_ids"], tokenizer.eos_token_id]
        logits = of(input_ids=torch.tensor([row])).logits[0, len(before) - 1 : -1]
        taken = torch.tensor(row[len(before) :])
        return logits.log_softmax(-1).gather(1, taken[:, None]).sum(), len(taken)

    model.eval()
    with torch.no_grad():
        for p in pairs:
            (w, n_w), (l, n_l) = (total(model, p["prompt"], p[k]) for k in ("chosen", "rejected"))
            if method == "simpo":
                losses.append(-F.logsigmoid(beta * (w / n_w - l / n_l - SIMPO_MARGIN)).item())
                continue
            (rw, _), (rl, _) = (total(reference, p["prompt"], p[k]) for k in ("chosen", "rejected"))
            if method == "kto":
                losses += [torch.sigmoid(-beta * (w - rw)).item(), torch.sigmoid(beta * (l - rl)).item()]
            else:
                losses.append(-F.logsigmoid(beta * ((w - rw) - (l - rl))).item())
    return sum(losses) / len(losses)


def ours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """guerdon: ``training.offline`` (for KTO a Recipe) and ``training.run``; settings.micro: pairs a forward pass,
    settings.bf16, and settings.logits16: the product that makes logits in bf16 too, as TRL's are with bf16."""
    import torch

    from guerdon.batch import Seed
    from guerdon.objectives import kto
    from guerdon.training import Micro, Optim, Recipe, run
    from guerdon.training.presets import offline
    from guerdon.worlds import Frozen, Snapshots
    from guerdon.worlds.text import TextWorld

    method = settings["method"]
    train, rest = data(settings["pairs"], settings["held_out"])
    tokenizer, model = models.tokenizer(), models.causal_lm()
    stages = {}
    with measure.cost() as cost:
        began = time.perf_counter()
        compute, logits = (torch.bfloat16 if settings.get(name) else None for name in ("bf16", "logits16"))
        world = TextWorld(model, tokenizer, rendering="raw", compute=compute, logits=logits)
        source = _labelled(settings, world, train) if method == "kto" else _paired(settings, world, train)
        stages["tokenise"] = time.perf_counter() - began
        snapshots = Snapshots(model) if method == "simpo" else Snapshots(model, reference=Frozen())
        micro = Micro(rows=2 * settings["micro"])
        optim, seed = Optim(lr=RATE, clip=1.0, fused=True), Seed(settings["seed"])
        if method == "kto":
            rounds = -(-len(source) // settings["batch"])
            recipe = Recipe(world, snapshots, source, kto(BETA[method]), optim, rounds, seed, micro=micro)
        else:
            recipe = offline(
                method,
                world,
                snapshots,
                source,
                beta=BETA[method],
                **({"margin": SIMPO_MARGIN} if method == "simpo" else {}),
                optim=optim,
                seed=seed,
                micro=micro,
            )
        result = run(recipe)
    losses = [m["loss"] for m in result.history]
    return _told(settings, cost, losses, model, rest, stages)


def _paired(settings: Mapping[str, Any], world: Any, train: Sequence[Mapping[str, str]]) -> Any:
    """Pairs to draw batches from, in the order given or one of their own."""
    import torch

    from guerdon.batch import Pairs, Seed
    from guerdon.training import Recorded

    kept = [train[i] for batch in settings["order"] for i in batch] if settings["order"] else train
    rows = [(p["prompt"], p[k]) for p in kept for k in ("chosen", "rejected")]
    samples = world.recorded([p for p, _ in rows], [r for _, r in rows])
    winner = torch.arange(0, len(rows), 2)
    seed = None if settings["order"] else Seed(settings["seed"])
    return Recorded(samples, settings["batch"], Pairs(winner, winner + 1), seed=seed)


def _labelled(settings: Mapping[str, Any], world: Any, train: Sequence[Mapping[str, str]]) -> Any:
    """Labelled rows and their mismatched ones, in the order given, by prompts, or one of their own."""
    import torch

    from guerdon.batch import Seed
    from guerdon.training import Unpaired, mismatched

    rows, order = labelled(train), settings["order"]
    if order:
        rows = [rows[i] for batch in order for i in batch]
        ends = list(accumulate(len(batch) for batch in order))
        other = [
            (i if i else end - start) + start - 1 for start, end in pairwise([0, *ends]) for i in range(end - start)
        ]
    else:
        if settings.get("together"):
            prompts = random.Random(settings["seed"]).sample(range(len(train)), len(train))
            rows = [rows[2 * i + k] for i in prompts for k in (0, 1)]
        other = mismatched([r["prompt"] for r in rows]).tolist()
    prompts, responses = [r["prompt"] for r in rows], [r["completion"] for r in rows]
    samples = world.recorded([*prompts, *prompts], [*responses, *(responses[j] for j in other)])
    seed = None if order or settings.get("together") else Seed(settings["seed"])
    return Unpaired(samples, torch.tensor([r["label"] for r in rows]), settings["batch"], seed)


def labelled(pairs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """{'prompt', 'completion', 'label'}: both rows of every pair."""
    sides = (("chosen", True), ("rejected", False))
    return [{"prompt": p["prompt"], "completion": p[k], "label": good} for p in pairs for k, good in sides]


def trl(settings: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's trainer of the method; settings.micro: pairs a forward pass, settings.grouped: batches of similar length,
    settings.bf16, settings.precompute."""
    import tempfile

    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    method, micro = settings["method"], settings["micro"]
    train, rest = data(settings["pairs"], settings["held_out"])
    tokenizer, model = models.tokenizer(), models.causal_lm()
    trainer_class, config_class, own = _trl_method(method, settings)
    # Its KTO trainer would load the reference from a hub where it is not read beforehand.
    also = {"ref_model": models.causal_lm()} if method != "simpo" and not settings["precompute"] else {}
    if method == "simpo":
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.bos_token = None  # its trainer would put one before every prompt
    with measure.cost() as cost, tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        source: Sequence[dict[str, Any]] = labelled(train) if method == "kto" else train
        kept = [source[i] for batch in settings["order"] for i in batch] if settings["order"] else source
        records: list[dict[str, Any]] = list(kept)
        strategy = "sequential" if settings["order"] or method == "kto" else "random"
        if method == "kto" and not settings["order"]:
            records = _ordered(records, settings)
        elif settings["grouped"] and not settings["order"]:
            strategy = "group_by_length"
            records = [{**p, "length": len(p["prompt"]) + max(len(p["chosen"]), len(p["rejected"]))} for p in records]
            own = {**own, "remove_unused_columns": False}
        options = config_class(
            output_dir=folder,
            max_length=MAX_LENGTH,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=settings["batch"] // micro,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            train_sampling_strategy=strategy,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=settings.get("bf16", False),
            gradient_checkpointing=False,
            seed=settings["seed"],
            disable_tqdm=True,
            **own,
        )
        trainer = trainer_class(
            model=model, args=options, train_dataset=Dataset.from_list(records), processing_class=tokenizer, **also
        )
        prepared = time.perf_counter() - began
        trainer.train()
    losses = [x["loss"] for x in trainer.state.log_history if "loss" in x]
    return _told(settings, cost, losses, model, rest, {"tokenise": prepared})


def _ordered(rows: Sequence[dict[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Labelled rows shuffled, or shuffled batches of rows of similar length."""
    chance, size = random.Random(settings["seed"]), settings["batch"]
    if not settings["grouped"]:
        return chance.sample(rows, len(rows))
    by_length = sorted(rows, key=lambda r: len(r["prompt"]) + len(r["completion"]))
    batches = [by_length[i : i + size] for i in range(0, len(rows), size)]
    return [r for batch in chance.sample(batches, len(batches)) for r in chance.sample(batch, len(batch))]


def _trl_method(method: str, settings: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    if method == "dpo":
        from trl import DPOConfig, DPOTrainer

        precompute = {
            "precompute_ref_log_probs": settings["precompute"],
            "precompute_ref_batch_size": settings["micro"],
        }
        return DPOTrainer, DPOConfig, {"beta": BETA[method], **precompute}
    if method == "simpo":
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        margin = SIMPO_MARGIN * BETA[method]  # it divides its γ by β
        more = {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": margin, "beta": BETA[method]}
        return CPOTrainer, CPOConfig, more
    if method == "kto":
        from trl import KTOConfig, KTOTrainer

        precompute = {
            "precompute_ref_log_probs": settings["precompute"],
            "precompute_ref_batch_size": settings["micro"],
        }
        return KTOTrainer, KTOConfig, {"beta": BETA[method], **precompute}
    raise ValueError(f"TRL has no arm for {method!r} here.")


def _told(
    settings: Mapping[str, Any],
    cost: measure.Cost,
    losses: Sequence[float],
    model: Any,
    rest: Sequence[Mapping[str, str]],
    stages: Mapping[str, float],
) -> dict[str, Any]:
    found = held_out_loss(model, models.causal_lm(), rest, settings["method"]) if rest else None
    return {
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu,
        "pairs_a_second": settings["pairs"] / cost.seconds,
        "memory_mb": cost.memory / 1e6,
        "losses": list(losses),
        "held_out_loss": found,
        **stages,
    }
