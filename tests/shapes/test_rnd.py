"""RND (card 94): two reward streams, two value heads, two discounts, one episodic and one not."""

import pytest
import torch

from guerdon.advantages import gae
from guerdon.batch import Batch, Scores, Steps
from guerdon.objectives import Objective, clipped, value_loss

STREAMS = {"extrinsic": (2.0, 0.999, True), "intrinsic": (1.0, 0.99, False)}  # coefficient, discount, episodic


def rnd_batch(steps: Steps, scores: Scores, terminated: torch.Tensor, streams=STREAMS) -> Batch:
    total, returns = torch.zeros(steps.mask.shape), {}
    for name, (coefficient, gamma, episodic) in streams.items():
        found = gae(
            scores[name].filled(),
            steps.stat(f"value:{name}"),
            steps.mask,
            terminated=terminated,
            next_value=steps.stat(f"bootstrap:{name}"),
            gamma=gamma,
            lam=0.95,
            episodic=episodic,
        )
        total, returns[name] = total + coefficient * found.advantage, found.returns
    return Batch(steps, advantages={"total": total}, returns=returns, scores=scores)


def rnd() -> Objective:
    return clipped(0.1) + value_loss("extrinsic") + value_loss("intrinsic")


def toy(done_at: int = 1) -> tuple[Steps, Scores, torch.Tensor]:
    from guerdon.batch import Channel

    mask = torch.ones(1, 4, dtype=torch.bool)
    logp = torch.full((1, 4), -1.0)
    stats = {f"{kind}:{name}": torch.zeros(1, 4) for kind in ("value", "bootstrap") for name in STREAMS}
    ends = torch.zeros(1, 4, dtype=torch.bool)
    ends[0, done_at] = True
    scores = Scores({n: Channel(torch.tensor([[0.0, 0.0, 0.0, 1.0]])) for n in STREAMS})
    return Steps(mask, {"policy": logp.clone().requires_grad_(), "old": logp}, stats), scores, ends


def test_only_the_intrinsic_stream_flows_across_an_episode_end():
    steps, scores, ends = toy()
    batch = rnd_batch(steps, scores, ends)
    assert batch.returns["extrinsic"][0, :2].tolist() == [0.0, 0.0]
    decay = 0.99 * 0.95
    assert batch.returns["intrinsic"][0].tolist() == pytest.approx([decay**3, decay**2, decay, 1.0], abs=1e-6)


def test_without_the_bonus_it_is_ppo():
    steps, scores, ends = toy()
    bare = rnd_batch(steps, scores, ends, {**STREAMS, "intrinsic": (0.0, 0.99, False)})
    alone = gae(
        scores["extrinsic"].value, torch.zeros(1, 4), steps.mask, terminated=ends, next_value=torch.zeros(1, 4),
        gamma=0.999, lam=0.95,
    )  # fmt: skip
    assert torch.equal(bare.advantages["total"], 2.0 * alone.advantage)


def test_both_heads_learn_their_own_returns():
    steps, scores, ends = toy()
    parts = rnd().loss(rnd_batch(steps, scores, ends)).parts
    decay = 0.999 * 0.95
    assert parts["value"].item() == pytest.approx((decay**2 + 1) / 8, abs=1e-6)
    assert parts["value.2"].item() == pytest.approx(sum((0.99 * 0.95) ** (2 * k) for k in range(4)) / 8, abs=1e-6)
