"""Duels, win rates, the builds and the estimator of self-play, and APO's momentum, against hand values and exact
laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status, Steps
from guerdon.errors import GuerdonError
from guerdon.lab import gym
from guerdon.objectives import dno, reinforce, sppo
from guerdon.rewards import Context, WinRateQueue
from guerdon.training import (
    Acceleration,
    Judge,
    Optim,
    Prompts,
    Recipe,
    Round,
    against_peers,
    all_pairs,
    best_worst_duels,
    both_orders,
    by_score,
    duels,
    margin_pairs,
    run,
)
from guerdon.training.methods import find
from guerdon.training.presets import online
from guerdon.training.recipe import Rollout
from guerdon.worlds import CopyEvery, Frozen, Sampling, Snapshots
from guerdon.worlds.finite import FiniteWorld, LinearPolicy, TabularPolicy, exact
from tests.training.test_presets import Gold

CYCLE = torch.tensor([[0.5, 0.875, 0.25], [0.125, 0.5, 0.625], [0.75, 0.375, 0.5]])


def rollout(
    scores: list[float | None], prompts: list[Any], old: Tensor | None = None, reference: Tensor | None = None
) -> Rollout:
    """One step a row; what response a row is stands in its column 'response'."""
    n = len(prompts)
    logp = {"old": torch.zeros(n) if old is None else old, "reference": torch.zeros(n)}
    logp["reference"] = logp["reference"] if reference is None else reference
    steps = Steps(torch.ones(n, 1, dtype=torch.bool), {k: x[:, None].float() for k, x in logp.items()})
    return Rollout(Samples([None] * n, prompts), steps, scores=Scores({"reward": Channel.of(scores)}))


def of_table(table: Tensor, responses: Tensor) -> Judge:
    """A judge who knows all preferences."""
    return Judge("table", lambda r, a, b: table[responses[a], responses[b]])


def test_win_rate_by_hand() -> None:
    """Scores 2, 0, 0 and temperature 1: σ(2) = .880797 against each of the others, which tie."""
    win = 1 / (1 + math.exp(-2.0))
    found = duels(rollout([2.0, 0.0, 0.0, 5.0], ["a", "a", "a", "b"]), by_score())
    assert (found.first.tolist(), found.second.tolist()) == ([0, 0, 1], [1, 2, 2])
    rest = (0.5 + 1 - win) / 2
    assert found.win_rate()[:3].tolist() == pytest.approx([win, rest, rest], abs=1e-6)
    assert math.isnan(found.win_rate()[3])  # nobody to compare with
    itself = [(2 * win + 0.5) / 3, (2 * rest + 0.5) / 3, (2 * rest + 0.5) / 3]
    assert found.win_rate(itself=True)[:3].tolist() == pytest.approx(itself, abs=1e-6)
    assert math.isnan(found.win_rate(itself=True)[3])
    assert found.between(torch.tensor([2, 0]), torch.tensor([0, 2])).tolist() == pytest.approx([1 - win, win], abs=1e-6)


def test_win_rates_sum_to_half_the_group() -> None:
    """Card 184: Σ = n/2 in every group, whatever the judge; an antisymmetric game is worth 0 to both."""
    made = rollout([0.3, -1.2, 2.0, 0.3, 0.7], ["a", "a", "a", "a", "a"])
    for judge in (by_score(), by_score(temperature=0.0), of_table(CYCLE, torch.tensor([0, 1, 2, 2, 0]))):
        for itself in (False, True):
            assert duels(made, judge).win_rate(itself).sum().item() == pytest.approx(2.5, abs=1e-5)
    margins, law = 2 * CYCLE - 1, torch.tensor([0.2, 0.5, 0.3])
    assert (law @ (margins - margins.T) @ law / 2).item() == pytest.approx(0.0, abs=1e-7)


def test_equal_rows_tie_and_hard_transitive_win_rates_are_affine_ranks() -> None:
    """Two identical trajectories get ½; distinct scores give (rank − 1)/(n − 1) (card 184)."""
    assert duels(rollout([1.0, 1.0], ["a", "a"]), by_score(temperature=0.0)).win_rate().tolist() == [0.5, 0.5]
    found = duels(rollout([3.0, -7.0, 0.1, 0.2], ["a"] * 4), by_score(temperature=0.0)).win_rate()
    assert found.tolist() == pytest.approx([1.0, 0.0, 1 / 3, 2 / 3], abs=1e-6)


def test_flipped_labels_scale_win_rates_about_one_half() -> None:
    """ε flips turn r into ½ + (1 − 2ε)(r − ½) (card 184)."""
    made, sure = rollout([3.0, -7.0, 0.1], ["a"] * 3), by_score()
    noisy = Judge("noisy", lambda r, a, b: 0.8 * sure(r, a, b) + 0.2 * (1 - sure(r, a, b)), ("scores",))
    plain, flipped = duels(made, sure).win_rate(), duels(made, noisy).win_rate()
    torch.testing.assert_close(flipped, 0.5 + 0.6 * (plain - 0.5))


def test_rows_that_are_not_judged_take_no_part() -> None:
    found = duels(rollout([2.0, None, 0.0], ["a"] * 3), by_score()).win_rate()
    assert found.tolist()[0] == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-6) and math.isnan(found[1])


def test_both_orders_takes_a_position_bias_out() -> None:
    """Card 75: P is antisymmetrised by averaging both orders."""
    biased = Judge("first", lambda r, a, b: torch.full(a.shape, 0.8))
    found = duels(rollout([0.0, 0.0], ["a", "a"]), both_orders(biased))
    assert found.p.tolist() == pytest.approx([0.5]) and both_orders(by_score()).needs == ("scores",)


def test_best_worst_duels() -> None:
    """The cycle's rows of prompt a have win rates, itself included, of 1.625/3, 1.25/3 and 1.625/3: of the equal ones
    the first is taken. Prompt b is a tie and gives no pair."""
    made = rollout([0.0] * 5, ["a", "a", "a", "b", "b"])
    judge = of_table(CYCLE, torch.tensor([0, 1, 2, 1, 1]))
    (batch,) = best_worst_duels(judge, labels="judge")(made.batch(), made)
    assert batch.columns["win_rate"].tolist() == pytest.approx([1.625 / 3, 1.25 / 3], abs=1e-6)
    assert (batch.pairs.winner.tolist(), batch.pairs.loser.tolist()) == ([0], [1])
    assert batch.pairs.probability().tolist() == pytest.approx([0.875])
    (batch,) = best_worst_duels(judge)(made.batch(), made)
    assert batch.pairs.preferred is None
    (batch,) = best_worst_duels(judge, least=0.13)(made.batch(), made)
    assert len(batch.pairs) == 0
    with pytest.raises(GuerdonError, match="hard, judge, win_rate"):
        best_worst_duels(labels="soft")


def test_all_pairs() -> None:
    """Win rates against the others: .5625, .375, .5625; soft labels are σ of their differences."""
    made = rollout([0.0] * 4, ["a", "a", "a", "b"])
    judge = of_table(CYCLE, torch.tensor([0, 1, 2, 0]))
    (batch,) = all_pairs(judge)(made.batch(), made)
    found = {(w, l): p for w, l, p in zip(*(x.tolist() for x in sides(batch)), strict=True)}
    apart = 1 / (1 + math.exp(-0.1875))
    assert found == pytest.approx({(0, 1): apart, (2, 1): apart, (0, 2): 0.5}, abs=1e-6)
    (batch,) = all_pairs(judge, labels="judge")(made.batch(), made)
    assert sides(batch)[2].tolist() == pytest.approx([0.875, 0.25, 0.375], abs=1e-6)
    (batch,) = all_pairs(judge, labels="hard")(made.batch(), made)
    assert sides(batch)[0].tolist() == [0, 2] and batch.pairs.preferred is None  # the tie is left out
    (batch,) = all_pairs(judge, least=0.2)(made.batch(), made)
    assert len(batch.pairs) == 0


def sides(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(winner, loser, probability) by the rollout's rows."""
    rows = batch.columns["rollout_row"] if "rollout_row" in batch.columns else torch.arange(len(batch))
    return rows[batch.pairs.winner], rows[batch.pairs.loser], batch.pairs.probability()


def test_margin_pairs() -> None:
    """Scores 6, 5, 4, 3 of one prompt: positives are 6 and 5, negatives at least 2 points lower (card 75)."""
    made = rollout([6.0, 5.0, 4.0, 3.0, 6.0, None], ["a"] * 4 + ["b"] * 2)
    (batch,) = margin_pairs()(made.batch(), made)
    assert [x.tolist() for x in sides(batch)[:2]] == [[0, 0, 1], [2, 3, 3]]
    (batch,) = margin_pairs(least=1.0, floor=6.0)(made.batch(), made)
    assert [x.tolist() for x in sides(batch)[:2]] == [[0, 0, 0], [1, 2, 3]]


def test_advantages_are_win_rates_minus_one_half() -> None:
    made = rollout([2.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"])
    batch = against_peers()(made)
    rate = duels(made, by_score()).win_rate()
    assert batch.advantages["total"][:3, 0].tolist() == pytest.approx((rate[:3] - 0.5).tolist(), abs=1e-6)
    assert batch.steps.mask[:, 0].tolist() == [True, True, True, False]  # no peers: nothing to learn from


def test_nash_md_takes_off_the_log_ratio() -> None:
    """τ(ρ − mean ρ of the peers), ρ = log π − log π_ref of the row."""
    ratio = torch.tensor([0.6, -0.2, 0.2])
    made = rollout([0.0, 0.0, 0.0], ["a"] * 3, old=ratio)
    found = against_peers(kl=0.5)(made).advantages["total"][:, 0]
    assert found.tolist() == pytest.approx([-0.5 * 0.6, 0.5 * 0.6, 0.0], abs=1e-6)
    assert against_peers(kl=0.5).needs == ("scores", "steps.logp.old", "steps.logp.reference")
    assert against_peers().needs == ("scores",)


def test_nash_md_opponents_become_the_geometric_mixture() -> None:
    """In a large group the win rate is that against π^(1−β)·π_ref^β normalised; with β = 0 that against π."""
    policy, reference = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.2, 0.6])
    count = (policy * 1000).round().long()
    response = torch.arange(3).repeat_interleave(count)
    made = rollout([0.0] * 1000, ["a"] * 1000, policy.log()[response], reference.log()[response])
    for beta in (0.0, 0.3, 1.0):
        mixed = torch.softmax((1 - beta) * policy.log() + beta * reference.log(), -1)
        found = against_peers(of_table(CYCLE, response), mixture=beta)(made).advantages["total"][:, 0]
        for y in range(3):
            expected = float(CYCLE[y] @ mixed) - 0.5
            assert found[response == y][0].item() == pytest.approx(expected, abs=2e-3)
    with pytest.raises(GuerdonError, match=r"\[0, 1\]"):
        against_peers(mixture=1.5)


@pytest.mark.parametrize("method", ["sppo", "sppo-hard", "dno", "spo", "nash-md", "online-dpo", "apo-accelerated"])
def test_presets_raise_the_exact_expected_reward(method: str) -> None:
    """Gold rewards on a finite world: every method gets most of the way to the best response."""
    preset, rounds = find(method), 60
    policy = TabularPolicy(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
    rules = dict(preset.called(preset.rules, preset.settings({}), rounds))
    world, snapshots = FiniteWorld(), Snapshots(policy, **rules)

    def expected() -> float:
        with torch.no_grad():
            return float(exact.expected(world.log_probabilities(snapshots), Gold.table).mean())

    start, best = expected(), float(Gold.table.max(-1).values.mean())
    optim = Optim(lr=0.1, kind="adam")
    recipe = online(method, world, snapshots, Prompts(list(range(6)), 6), Gold(), rounds=rounds, optim=optim)
    assert recipe.sampling.snapshot == preset.sampler
    run(recipe)
    assert expected() > start + 0.5 * (best - start)


def test_dno_prct_learns_from_scores_of_six_points() -> None:
    preset = find("dno-prct")
    policy = TabularPolicy(torch.zeros(1, 4))
    snapshots = Snapshots(policy, **dict(preset.called(preset.rules, preset.settings({}), 30)))

    class Points(Gold):
        table = torch.tensor([[6.0, 5.0, 4.0, 1.0]])

    world = FiniteWorld()
    run(online("dno-prct", world, snapshots, Prompts([0] * 8, 8), Points(), rounds=30, optim=Optim(lr=0.1)))
    law = world.log_probabilities(snapshots).detach().exp()[0]
    assert law[0] + law[1] > 0.9 and law[3] < 0.05


def momentum(alpha: float, rewards: list[Tensor], beta: float) -> tuple[list[Tensor], list[Tensor]]:
    """(π̂_t, π_t) for t = 0, 1, … of exact proximal steps θ̂_{t+1} = θ_t + r_t/β on a table, logits as they come."""
    policy = TabularPolicy(torch.tensor([[0.2, -0.4, 0.1]]))
    snapshots = Snapshots(policy, reference=CopyEvery(1))
    recipe = Recipe(FiniteWorld(), snapshots, Prompts([0], 1), reinforce())
    companion, reached, extrapolated = Acceleration(alpha), [policy.logits.detach().clone()], []
    for t, reward in enumerate(rewards):
        companion.before_round(Round(recipe, t, t))
        extrapolated.append(snapshots.parameters("reference")["logits"].clone())
        with torch.no_grad():
            policy.logits.copy_(extrapolated[-1] + reward / beta)
        snapshots.refresh(t + 1)
        reached.append(policy.logits.detach().clone())
    return reached, extrapolated


def test_acceleration_follows_theorem_4_1() -> None:
    """π̂_{t+1} ∝ π_ref exp((1/β) Σ_{i≤t} [1/(1−α) − α^{t+1−i}/(1−α)] r_i) (card 150); α = 0 is the plain sum."""
    rewards = [torch.randn(1, 3, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    for alpha in (0.0, 0.3, 0.6):
        reached, _ = momentum(alpha, rewards, beta=2.0)
        for t in range(4):
            expected = reached[0] + sum(
                (1 - alpha ** (t + 1 - i)) / (1 - alpha) * rewards[i] / 2.0 for i in range(t + 1)
            )
            torch.testing.assert_close(torch.softmax(reached[t + 1], -1), torch.softmax(expected, -1))


def test_acceleration_by_hand() -> None:
    """π̂ from (.5, .5) to (.6, .4) at α = .3 gives (.628808, .371192) (card 150), and in a linear policy, features that
    mix its parameters included, extrapolated parameters are the extrapolated policy."""
    features = torch.tensor([[[1.0, 0.5], [-0.3, 2.0]]])
    after = torch.linalg.solve(features[0], torch.tensor([0.6, 0.4]).log())
    policy = LinearPolicy(features)
    snapshots = Snapshots(policy, reference=CopyEvery(5))
    recipe = Recipe(FiniteWorld(features), snapshots, Prompts([0], 1), reinforce())
    companion = Acceleration(0.3, every=5)
    companion.before_round(Round(recipe, 0, 0))
    with torch.no_grad():
        policy.weight.copy_(after)
    for step in range(1, 6):
        snapshots.refresh(step)
        companion.before_round(Round(recipe, step, step))
        law = FiniteWorld(features).log_probabilities(snapshots, "reference").exp()[0]
        expected = [0.5, 0.5] if step < 5 else [0.628808, 0.371192]
        assert law.tolist() == pytest.approx(expected, abs=1e-5)
    assert policy.weight.tolist() == after.tolist()  # the live policy is the iterate before extrapolation
    with pytest.raises(GuerdonError, match=r"\[0, 1\)"):
        Acceleration(1.0)


def test_acceleration_without_alpha_changes_nothing_and_survives_a_checkpoint() -> None:
    rewards = [torch.randn(1, 3, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    reached, references = momentum(0.0, rewards, beta=1.0)
    assert all(torch.equal(a, b) for a, b in zip(reached, references, strict=False))
    companion = Acceleration(0.3, every=2)
    companion.iteration, companion.previous = 3, {"logits": torch.ones(2)}
    again = Acceleration(0.3, every=2)
    again.load_state_dict(companion.state_dict())
    assert again.iteration == 3 and torch.equal(again.previous["logits"], torch.ones(2))
    assert again.after_round(None)["acceleration/iteration"] == 3.0  # type: ignore[arg-type]


def trajectories(values: list[float]) -> Samples:
    return Samples(values, ["a"] * len(values), [str(v) for v in values])


def test_the_queue_compares_with_those_before() -> None:
    """Size 2: first call against each other; then against the two newest of before and each other."""
    reward = WinRateQueue(lambda s: torch.tensor(s.payload), size=2)
    found, state = reward.score(trajectories([1.0, 3.0, 2.0]), reward.init(), Context())
    assert found["win_rate"].value.tolist() == pytest.approx([0.0, 1.0, 0.5])
    assert state["queue"].flatten().tolist() == [3.0, 2.0]
    found, after = reward.score(trajectories([2.0, 5.0]), state, Context())
    assert found["win_rate"].value.tolist() == pytest.approx([0.5 / 3, 1.0])
    assert after["queue"].flatten().tolist() == [2.0, 5.0] and state["queue"].flatten().tolist() == [3.0, 2.0]
    _, same = reward.score(trajectories([2.0]), state, Context(training=False))
    assert same is state


def test_a_gym_policy_learns_from_the_queue() -> None:
    """Trajectories of CartPole by their returns: rewards are win rates, and the state keeps the newest ten."""
    bed = gym.build("cartpole", starts=4, held_out=1)
    queue = WinRateQueue(lambda samples: samples.payload.returns())
    done = run(gym.online(bed, "reinforce", queue, rounds=2, starts=4, per_start=2))
    assert done.state["queue"].shape == (10, 1) and done.rounds == 2
    assert all(0 <= m["rewards/win_rate/mean"] <= 1 for m in done.history)


def test_the_first_trajectory_has_no_opponent() -> None:
    reward = WinRateQueue(lambda s: torch.tensor(s.payload), size=2)
    found, _ = reward.score(trajectories([1.0]), {}, Context())
    assert found["win_rate"].statuses().tolist() == [int(Status.NOT_APPLICABLE)]
    with pytest.raises(GuerdonError, match="at least 1"):
        WinRateQueue(lambda s: torch.zeros(1), size=0)
    with pytest.raises(GuerdonError, match="must give"):
        WinRateQueue(lambda s: torch.zeros(1), lambda a, b: torch.zeros(3)).score(trajectories([1.0]), {}, Context())


def test_intransitive_criteria_reach_the_queue() -> None:
    """Summaries of several numbers: a preference may look at another one each time."""
    cyclic = WinRateQueue(
        lambda s: torch.eye(3)[torch.tensor(s.payload).long()],
        lambda a, b: torch.einsum("nmi,ij,nmj->nm", a.expand(-1, b.shape[1], -1), CYCLE, b.expand(a.shape[0], -1, -1)),
        size=9,
    )
    found, _ = cyclic.score(trajectories([0, 1, 2]), {}, Context())
    assert found["win_rate"].value.tolist() == pytest.approx([0.5625, 0.375, 0.5625], abs=1e-6)


def test_rows_of_an_iteration_come_from_its_reference() -> None:
    """π_t draws and is compared with; the live policy has moved on meanwhile."""
    policy = TabularPolicy(torch.zeros(2, 3))
    snapshots = Snapshots(policy, reference=CopyEvery(4), start=Frozen())
    seen: list[str] = []

    class Watching(Gold):
        def score(self, samples: Samples, state: Any, context: Context) -> tuple[Scores, Any]:
            seen.append(samples.made_by["sampler"])
            return super().score(samples, state, context)

    recipe = online("sppo", FiniteWorld(), snapshots, Prompts([0, 1], 2), Watching(), rounds=6)
    assert recipe.sampling == Sampling(snapshot="reference") and recipe.per_start == 5
    run(recipe)
    assert seen == ["reference@0"] * 4 + ["reference@4"] * 2


def test_the_objectives_fit_their_builds() -> None:
    made = rollout([2.0, 0.0, 1.0], ["a"] * 3)
    policy = torch.zeros(3, 1, requires_grad=True)
    steps = Steps(made.steps.mask, {**made.steps.logp, "policy": policy})
    whole = Rollout(made.samples, steps, scores=made.scores)
    for build, objective in ((best_worst_duels(), sppo(2.0)), (all_pairs(), dno())):
        (batch,) = build(whole.batch(), whole)
        (found,) = torch.autograd.grad(objective.loss(batch).value, policy, retain_graph=True)
        assert found[0] < 0 < found[1]  # the best becomes likelier, the worst less likely
