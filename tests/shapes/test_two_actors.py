"""A game of actors that learn apart (card 107): one row an actor, rows of an episode share a partition, the reward is
differentiable."""

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Batch, Channel, Partition, Samples, Scores, Steps
from guerdon.objectives import reinforce
from guerdon.rewards.interface import Context, Reward

OMEGA, BETA, COST = 25.0, 0.7, 1.0


class TeamUtility(Reward):
    """U_i = π_i + θ[φ_B·mean of the others' π + φ_C·c·a_i], π_i = Q/n − c·a_i, Q = ω(Σa)^β; the payload is the effort
    of each row."""

    name, channels, differentiable = "utility", ("utility",), True

    def __init__(self, loyalty: float, benefit: float = 0.8, care: float = 0.3):
        self.loyalty, self.benefit, self.care = loyalty, benefit, care

    def score(self, samples, state, context):
        effort, episode = samples.payload, samples.partition("episode").ids
        output = OMEGA * reduce.group_sum(effort, episode) ** BETA
        own = output / reduce.group_count(episode) - COST * effort
        others = reduce.leave_one_out_mean(own, episode)
        utility = own + self.loyalty * (self.benefit * others + self.care * COST * effort)
        return Scores({"utility": Channel(utility)}), state


def game(effort: torch.Tensor, players: int) -> Samples:
    episodes = torch.arange(len(effort)) // players
    names = [f"player/{i % players}" for i in range(len(effort))]
    return Samples(effort, ["team"] * len(effort), actor=names, partitions={"episode": Partition(episodes)})


def utility(samples: Samples, loyalty: float) -> torch.Tensor:
    return TeamUtility(loyalty).score(samples, {}, Context())[0].only().value


def equilibrium(players: int, loyalty: float, benefit: float = 0.8, care: float = 0.3) -> float:
    pull = OMEGA * BETA * (1 + loyalty * benefit) / (COST * (1 - loyalty * care) * players ** (2 - BETA))
    return pull ** (1 / (1 - BETA))


def test_card_equilibria_are_where_no_player_gains():
    assert equilibrium(5, 0.0) == pytest.approx(13.0194, abs=1e-4)
    assert equilibrium(5, 0.5) == pytest.approx(68.70, abs=1e-2)
    for players, loyalty in ((2, 0.0), (2, 0.9), (5, 0.5)):
        effort = torch.full((players,), equilibrium(players, loyalty), dtype=torch.float64, requires_grad=True)
        values = utility(game(effort, players), loyalty)
        own = [torch.autograd.grad(values[i], effort, retain_graph=True)[0][i].item() for i in range(players)]
        assert own == pytest.approx([0.0] * players, abs=1e-9)


def test_selfish_utilities_add_up_to_output_minus_cost():
    effort = torch.tensor([3.0, 5.0, 2.0, 2.0], dtype=torch.float64)
    first = utility(game(effort, 2), 0.0)[:2].sum().item()
    assert first == pytest.approx(OMEGA * 8.0**BETA - 8.0, abs=1e-9)


def test_each_actor_learns_from_its_own_rows():
    samples = game(torch.tensor([3.0, 5.0, 2.0, 4.0]), 2)
    logp = torch.full((4, 1), -1.0, requires_grad=True)
    gain = (utility(samples, 0.0) - 1.0)[:, None]
    batch = Batch(Steps(torch.ones(4, 1, dtype=torch.bool), {"policy": logp}), advantages={"total": gain})
    mine = torch.tensor([i for i, name in enumerate(samples.actor) if name == "player/1"])
    (gradient,) = torch.autograd.grad(reinforce().loss(batch.take(mine)).value, logp)
    assert gradient[[0, 2]].abs().max().item() == 0.0
    assert gradient[[1, 3], 0].tolist() == pytest.approx((-gain[[1, 3], 0] / 2).tolist(), abs=1e-6)
