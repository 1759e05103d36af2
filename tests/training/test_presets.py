"""The presets on a finite world with exact oracles and on a real (tiny) causal LM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from guerdon import objectives
from guerdon.batch import Channel, Pairs, Samples, Scores
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.training import Optim, Prompts, Recipe, Recorded, generalised, minibatches, run
from guerdon.training.presets import offline, online
from guerdon.worlds import AdapterOff, Frozen, Sampling, Snapshots
from guerdon.worlds.finite import FiniteWorld
from tests.training.test_run import every_pair
from tests.training.toy import Table, ToyWorld
from tests.worlds.tiny import tiny


class Logits(nn.Module):
    def __init__(self, prompts: int = 6, responses: int = 8) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(prompts, responses, generator=torch.Generator().manual_seed(0)))

    def forward(self) -> torch.Tensor:
        return self.table


class Gold(Reward):
    """A table of rewards on finite rows, or minus the first response token's id on token rows."""

    name = "gold"
    channels = ("gold",)
    table = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        rows = samples.payload
        if hasattr(rows, "response") and rows.response.dtype == torch.bool:
            first = rows.response.to(torch.int8).argmax(1, keepdim=True)
            value = -rows.ids.gather(1, first)[:, 0].float() / 10
        else:
            value = self.table[rows.prompt, rows.response]
        return Scores({"gold": Channel(value)}), state


@pytest.mark.parametrize("method", ["rloo", "grpo", "remax"])
def test_online_presets_raise_the_exact_expected_reward(method: str) -> None:
    world, snapshots = FiniteWorld(), Snapshots(Logits(), reference=Frozen())
    prompts = Prompts(list(range(6)), per_round=6)

    def expected() -> float:
        with torch.no_grad():
            return float((world.log_probabilities(snapshots).exp() * Gold.table).sum(-1).mean())

    start = expected()
    optim = Optim(lr=0.1, kind="adam")
    more = {"epochs": 2} if method == "grpo" else {}
    recipe = online(method, world, snapshots, prompts, Gold(), rounds=120, optim=optim, per_start=4, **more)
    done = run(recipe)
    best = float(Gold.table.max(-1).values.mean())
    assert expected() > start + 0.7 * (best - start)
    assert (
        "reward" in done.history[0]
        and "kl" in run(replace(recipe, rounds=1, track=("steps.logp.reference",))).history[0]
    )


def test_rloo_with_kl_comes_near_the_tilted_optimum() -> None:
    beta = 1.0
    world, snapshots = FiniteWorld(), Snapshots(Logits(), reference=Frozen())
    with torch.no_grad():
        start = world.log_probabilities(snapshots)
    best = torch.softmax(start + Gold.table / beta, -1)
    optim = Optim(lr=0.1, kind="adam", schedule="linear")
    run(
        online(
            "rloo", world, snapshots, Prompts(list(range(6)), 6), Gold(), rounds=300, per_start=32, kl=beta, optim=optim
        )
    )
    with torch.no_grad():
        found = world.log_probabilities(snapshots).exp()
    assert float((found - best).abs().sum(-1).max()) / 2 < 0.05  # total variation, from sampled gradients


def test_ppo_with_the_worlds_value_head_and_value_clipping() -> None:
    """The loss reads values with gradient, the estimator and the clipping as they were when the round began."""
    head = nn.Embedding(6, 1)
    nn.init.zeros_(head.weight)
    world, snapshots = FiniteWorld(value_heads={"total": head}), Snapshots(Logits(), reference=Frozen())
    recipe = Recipe(
        world,
        snapshots,
        Prompts(list(range(6)), 6),
        objectives.clipped() + 0.5 * objectives.value_loss("total", clip=0.5) + 0.01 * objectives.entropy_bonus(),
        Optim(lr=0.05, kind="adam"),
        rounds=150,
        reward=Gold(),
        per_start=8,
        estimator=generalised(lam=1.0),
        build=minibatches(2, 2),
        modules={"value": head},
        track=("steps.stats.entropy",),  # tracked without gradient, and in the loss with it
    )
    run(recipe)
    with torch.no_grad():
        law = world.log_probabilities(snapshots).exp()
    expected = (law * Gold.table).sum(-1)
    assert float(expected.mean()) > float(Gold.table.max(-1).values.mean()) - 0.4
    torch.testing.assert_close(head.weight.detach()[:, 0], expected, atol=0.35, rtol=0)


def test_a_tracked_entropy_does_not_take_the_gradient_from_the_bonus() -> None:
    def entropy(**changes: Any) -> float:
        world, snapshots = FiniteWorld(), Snapshots(Logits())
        prompts = Prompts(list(range(6)), 6)
        run(Recipe(world, snapshots, prompts, objectives.entropy_bonus(), Optim(lr=0.1), rounds=50, **changes))
        with torch.no_grad():
            logp = world.log_probabilities(snapshots)
        return float(-(logp.exp() * logp).sum(-1).mean())

    assert (
        entropy(track=("steps.stats.entropy",)) == pytest.approx(entropy()) == pytest.approx(2.079, abs=1e-2)
    )  # log 8


@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo"])
def test_offline_presets_prefer_the_winners(method: str) -> None:
    world, snapshots = ToyWorld(), Snapshots(Table(steps=1), reference=Frozen())
    samples, pairs = every_pair(world, snapshots, lambda p, i, j: 1.0)
    recipe = offline(
        method, world, snapshots, Recorded(samples, 10, pairs), epochs=40, optim=Optim(lr=0.05, kind="adam")
    )
    assert recipe.rounds == 160
    history = run(recipe).history
    assert history[-1]["rewards/accuracies"] == 1.0
    assert ("reference" in world.calls) == (method != "simpo")


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(GuerdonError, match=r"no offline method 'simpro'; did you mean simpo"):
        offline("simpro", *([None] * 3))  # type: ignore[arg-type]
    with pytest.raises(GuerdonError, match=r"no online method 'dpo'"):
        online("dpo", *([None] * 4))  # type: ignore[arg-type]
    with pytest.raises(GuerdonError, match=r"The method dpo has no hyperparameter 'gamma'; it has beta, smoothing\."):
        offline("dpo", *([None] * 3), gamma=1.0)  # type: ignore[arg-type]


def text(method: str, lora: bool = False) -> tuple[Any, Recipe]:
    from guerdon.worlds.text import TextWorld

    model = tiny("llama")
    if lora:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    snapshots = Snapshots(model, reference=AdapterOff() if lora else Frozen())
    world = TextWorld(model)
    optim = Optim(lr=3e-2 if lora else 3e-3, kind="adam")
    prompts = [[1, 5, 6], [1, 7], [1, 8, 9, 10]]
    if method in ("dpo", "simpo", "ipo"):
        samples = world.recorded([p for p in prompts for _ in range(2)], [[4, 4, 3], [20, 3]] * 3)
        pairs = Pairs(torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5]))
        return model, offline(method, world, snapshots, Recorded(samples, 2, pairs), epochs=20, optim=optim)
    drawn = Sampling(limit=4)
    return model, online(
        method, world, snapshots, Prompts(prompts, 3), Gold(), rounds=25, sampling=drawn, optim=optim, per_start=8
    )


@pytest.mark.parametrize(("method", "lora"), [("dpo", False), ("dpo", True), ("simpo", False)])
def test_offline_presets_on_a_causal_lm(method: str, lora: bool) -> None:
    _, recipe = text(method, lora)
    history = run(recipe).history
    assert history[-1]["rewards/accuracies"] == 1.0
    assert history[-1]["rewards/margins"] > history[0]["rewards/margins"] + 0.1
    if method == "dpo":
        assert history[0]["kl"] == pytest.approx(0.0, abs=1e-6)  # the reference is the start


@pytest.mark.parametrize("method", ["rloo", "grpo", "remax"])
def test_online_presets_on_a_causal_lm(method: str, tmp_path: Path) -> None:
    _, recipe = text(method)
    history = run(recipe, tmp_path, save_every=10).history
    assert history[-1]["reward"] > history[0]["reward"] + 0.5
    assert history[0]["completions/mean_length"] > 1
    if method == "grpo":
        assert history[0]["clip_ratio"] == 0.0
        assert history[0]["approx_kl"] == pytest.approx(0.0, abs=1e-7)


def test_a_lora_run_resumes_to_the_bit(tmp_path: Path) -> None:
    model, recipe = text("grpo", lora=True)
    whole, cut = replace(recipe, rounds=4), None
    run(whole, tmp_path / "whole", save_every=2)
    _, first = text("grpo", lora=True)
    with pytest.raises(KeyboardInterrupt):
        run(replace(first, rounds=4), tmp_path / "cut", save_every=2, on_metrics=_interrupt)
    cut, again = text("grpo", lora=True)
    run(replace(again, rounds=4), tmp_path / "cut", save_every=2)
    a, b = dict(model.named_parameters()), dict(cut.named_parameters())
    assert all(torch.equal(a[k], b[k]) for k in a)
    size = sum(p.numel() * 4 for p in a.values())
    saved = tmp_path / "whole" / "checkpoints" / "round-00000004" / "tensors.safetensors"
    assert saved.stat().st_size < size  # the adapters, their moments; not the base


def _interrupt(progress: Any) -> None:
    if progress.round == 3:
        raise KeyboardInterrupt
