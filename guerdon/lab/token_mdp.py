"""Token MDPs small enough to solve: every next state follows from state and token, and the end of a response is a
token. Rewards stand on tokens; who learns sees their sum."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Seed
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.finite import TabularPolicy
from guerdon.worlds.tabular import Mdp, Solution, TabularWorld, expected_return, policy_iteration


@dataclass(frozen=True)
class TokenMdp:
    """One of S − 1 states, the last one the end. mdp: undiscounted, reward a token. reward: [S,A]. reference:
    log-probabilities [S,A]. depth: most tokens of a response; the last one ends it whatever it is."""

    mdp: Mdp
    reward: Tensor
    reference: Tensor
    depth: int

    def fresh(self) -> tuple[TabularWorld, Snapshots]:
        """A world and a policy with a logit a state and token that starts at the reference, kept as 'reference'."""
        return TabularWorld(self.mdp), Snapshots(TabularPolicy(self.reference.float()), reference=Frozen())

    @property
    def best(self) -> Solution:
        """The optimum of Σ r alone."""
        return policy_iteration(self.mdp)

    def soft(self, beta: float) -> Solution:
        """The optimum of E Σ r − β KL(π‖π_ref): V*, Q* = r + β log π_ref + V*(s′), π* = exp((Q* − V*)/β)."""
        return policy_iteration(self.mdp.with_reward(self.reward + beta * self.reference), temperature=beta)

    def gold(self, policy: Tensor) -> float:
        """Expected sum of rewards of a policy [S,A], exactly."""
        return float(expected_return(self.mdp, policy.double()))


def token_tree(seed: Seed, symbols: int = 3, depth: int = 4, taste: float = 0.5) -> TokenMdp:
    """Every prefix is a state. Token 0 ends a response, tokens 1 … ``symbols`` lengthen it; rewards are standard
    normal, the reference's logits ``taste`` times that."""
    count = sum(symbols**k for k in range(depth))
    after = torch.full((count, symbols + 1), count)
    first = 0
    for level in range(depth - 1):
        size = symbols**level
        at = torch.arange(size)[:, None] * symbols + torch.arange(symbols)
        after[first : first + size, 1:] = first + size + at
        first += size
    return _drawn(seed.child("token_tree"), after, depth, taste, 0.0)


def token_lattice(seed: Seed, symbols: int = 3, depth: int = 10, taste: float = 0.5, ending: float = -2.0) -> TokenMdp:
    """Place and last token are the state, which is all that rewards depend on: long responses with few states.
    ``ending`` is added to the reference's logits of token 0, which ends a response."""
    count = 1 + (depth - 1) * symbols
    after = torch.full((count, symbols + 1), count)
    after[0, 1:] = 1 + torch.arange(symbols)
    for state in range(1, count - symbols):
        after[state, 1:] = 1 + symbols * (1 + (state - 1) // symbols) + torch.arange(symbols)
    return _drawn(seed.child("token_lattice"), after, depth, taste, ending)


def _drawn(seed: Seed, after: Tensor, depth: int, taste: float, ending: float) -> TokenMdp:
    """Rewards and reference for the states [S−1,A] that tokens lead to; the last number is the end."""
    g, count = seed.torch(), len(after)
    moves = torch.nn.functional.one_hot(torch.cat([after, torch.full_like(after[:1], count)]), count + 1).double()
    over = torch.arange(count + 1) == count
    shape = moves.shape[:2]
    reward = torch.where(over[:, None], 0.0, torch.randn(shape, generator=g, dtype=torch.float64))
    logits = taste * torch.randn(shape, generator=g, dtype=torch.float64)
    logits[:, 0] += ending
    start = (torch.arange(count + 1) == 0).double()
    return TokenMdp(Mdp.of(moves, reward, 1.0, start, over), reward, logits.log_softmax(-1), depth)
