"""The peer of the GRPO benchmark: TRL's GRPOTrainer, generating with transformers."""

import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

from benchmarks import grpo_task as task

SETTINGS: dict[str, Any] = {
    "threads": 2,
    "bf16": False,
    "attention": "sdpa",
    "micro": None,
    "cache": None,
    "continuous": False,
    "compile": False,
    "pad": None,
    "fused_optimiser": False,
    "end_outside": False,
}
"""Where the sweep begins. micro: rows of a forward pass with gradient (None: all). cache: transformers' cache
implementation. continuous: its continuous batching. pad: lengths are padded to a multiple of it, so that compiled code
meets few of them. end_outside: rows go on because no id ends them, instead of by
min_new_tokens."""

TRIED = (
    {"threads": 1},
    {"bf16": True},
    {"micro": 16},
    {"micro": 8},
    {"attention": "eager"},
    {"end_outside": True},
    {"fused_optimiser": True},
)
"""One change at a time; what is faster stays. The arm also takes 'cache', 'continuous' and 'compile' with 'pad', which
are not swept: they make a run of minutes one of a quarter of an hour."""


def arm(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The median step's seconds by stage; the first step's rows, loss and gradient norm."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    warnings.filterwarnings("ignore")
    stages, first = task.Stages(), {}

    class Laps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stages.lap()

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return task.plain(completions, settings["per_start"])

    _, tokenizer, prompts = task.load(settings["folder"])
    with tempfile.TemporaryDirectory() as out:
        trainer = GRPOTrainer(
            model=settings["folder"],
            reward_funcs=reward,
            args=_config(settings, out),
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=tokenizer,
            callbacks=[Laps()],
        )
        score = trainer._get_per_token_logps_and_entropies
        generate, apart = trainer._generate, stages.timed("re-scoring", score)

        def generated(rows: Any) -> Any:
            found = generate(rows)
            first.setdefault("rows", [list(map(list, x)) for x in found[:2]])
            return found

        trainer._generate = stages.timed("generation", generated)
        trainer._calculate_rewards = stages.timed("reward", trainer._calculate_rewards)
        trainer._get_per_token_logps_and_entropies = lambda *a, **k: (
            score(*a, **k) if torch.is_grad_enabled() else apart(*a, **k)
        )
        trainer.train()
    logged = trainer.state.log_history
    lengths = {len(x) for x in first["rows"][1]}
    if lengths != {settings["tokens"]}:
        raise RuntimeError(f"Every completion should have {settings['tokens']} tokens, but these came: {lengths}.")
    told = {"loss": logged[0]["loss"], "grad_norm": logged[0]["grad_norm"], "reward": logged[0]["reward"]}
    return {"median": _named(stages.median()), "least": stages.least(), "laps": stages.laps, **told, **first}


def _named(lap: Mapping[str, float]) -> dict[str, float]:
    """What is no other stage is the update: forward with gradient, backward, optimiser, the trainer's own work."""
    return {"generation": 0.0, "re-scoring": 0.0, "reward": 0.0, **lap, "update": lap["rest"]}


def _config(settings: Mapping[str, Any], out: str) -> Any:
    from trl import GRPOConfig

    rows = task.total_rows(settings)
    micro = settings["micro"] or rows
    outside = {"eos_token_id": -1} if settings["end_outside"] else {"min_new_tokens": settings["tokens"]}
    return GRPOConfig(
        output_dir=out,
        use_cpu=True,
        bf16=settings["bf16"],
        model_init_kwargs={"dtype": "float32", "attn_implementation": settings["attention"]},
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rows // micro,
        generation_batch_size=rows,
        num_generations=settings["per_start"],
        num_iterations=1,
        max_completion_length=settings["tokens"],
        generation_kwargs=outside,
        cache_implementation=settings["cache"],
        use_transformers_continuous_batching=settings["continuous"],
        torch_compile=settings["compile"],
        pad_to_multiple_of=settings["pad"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=settings["beta"],
        loss_type="grpo",
        learning_rate=task.LR,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused" if settings["fused_optimiser"] else "adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        max_steps=task.WARM + settings["steps"],
        logging_steps=1,
        logging_strategy="steps",
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        seed=0,
    )
