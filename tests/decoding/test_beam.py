"""Beam search against the exhaustive answer (card 180), on a token tree and on a real (tiny) causal LM."""

import itertools

import pytest
import torch

from guerdon.batch import Seed
from guerdon.decoding import beam_search, next_logprobs, relative
from guerdon.errors import GuerdonError
from guerdon.lab.token_mdp import TokenMdp, token_tree
from guerdon.worlds import Frozen, Sampling, Snapshots
from guerdon.worlds.text import TextWorld
from tests.worlds.tiny import tiny

BETA = 0.5


def bed() -> tuple[TokenMdp, torch.Tensor, torch.Tensor]:
    """A tree, its soft-optimal policy and V*."""
    t = token_tree(Seed(0), symbols=2, depth=4)
    best = t.soft(BETA)
    return t, best.policy, best.value


def state_of(t: TokenMdp, said: tuple[int, ...]) -> int:
    at = 0
    for token in said:
        at = int(t.mdp.transition[at, token].argmax())
    return at


def scores_of(t: TokenMdp, logp: torch.Tensor):
    """Step scores of prefixes that begin with one prompt token, 9."""

    def call(prefixes: torch.Tensor) -> torch.Tensor:
        return torch.stack([logp[state_of(t, tuple(row[1:]))] for row in prefixes.tolist()])

    return call


def responses(t: TokenMdp) -> list[tuple[int, ...]]:
    """Every response of at most ``depth`` tokens: ended by 0, or by the limit."""
    found = []
    for n in range(1, t.depth + 1):
        for said in itertools.product(range(3), repeat=n):
            if 0 not in said[:-1] and (said[-1] == 0 or n == t.depth):
                found.append(said)
    return found


def summed(t: TokenMdp, table: torch.Tensor, said: tuple[int, ...]) -> float:
    return sum(float(table[state_of(t, said[:k]), token]) for k, token in enumerate(said))


def test_a_wide_beam_is_exact_and_a_beam_of_one_is_greedy() -> None:
    t, policy, _ = bed()
    logp = policy.log()
    every = sorted(responses(t), key=lambda said: -summed(t, logp, said))
    found = beam_search(scores_of(t, logp), [9], width=len(every), limit=t.depth, eos=[0])
    assert [b.ids for b in found[:5]] == every[:5]
    assert found[0].score == pytest.approx(summed(t, logp, every[0]), abs=1e-12)
    said: tuple[int, ...] = ()
    while len(said) < t.depth and 0 not in said:
        said = (*said, int(logp[state_of(t, said)].argmax()))
    (greedy,) = beam_search(scores_of(t, logp), [9], width=1, limit=t.depth, eos=[0])
    assert greedy.ids == said and greedy.ended == (said[-1] == 0)


def test_the_value_of_a_prefix_is_reward_so_far_and_value_to_come() -> None:
    """Σ_{t≤k} β log π*/π_ref = Σ r + V*(s_k) − V*(s_0): relative scores rank prefixes by it, log π adds the prior."""
    t, policy, value = bed()
    worth = relative(scores_of(t, policy.log()), scores_of(t, t.reference), BETA)
    for k in (1, 2, 3):
        for b in beam_search(worth, [9], width=100, limit=k, eos=[0]):
            end = 0.0 if b.ended else float(value[state_of(t, b.ids)])
            assert b.score == pytest.approx(summed(t, t.reward, b.ids) + end - float(value[0]), abs=1e-9)
    (best, *_) = beam_search(worth, [9], width=100, limit=t.depth, eos=[0])
    assert best.ids == max(responses(t), key=lambda said: summed(t, t.reward, said))  # the response of most reward
    prior = t.reward + BETA * t.reference
    likely = beam_search(scores_of(t, policy.log()), [9], width=100, limit=t.depth, eos=[0])[0]
    assert likely.ids == max(responses(t), key=lambda said: summed(t, prior, said))


def test_length_is_not_divided_by() -> None:
    """A long response of likelier steps loses against a short one whose sum is higher."""
    table = torch.tensor([[0.5, 0.5], [0.3, 0.7]]).log()

    def scores(prefixes: torch.Tensor) -> torch.Tensor:
        return table[min(1, prefixes.shape[1] - 1)].expand(len(prefixes), 2)

    found = beam_search(scores, [9], width=4, limit=3, eos=[0])
    assert [(b.ids, b.ended) for b in found[:2]] == [((0,), True), ((1, 1, 1), False)]
    assert found[1].score / 3 > found[0].score > found[1].score


def test_a_beam_on_a_language_model_finds_likelier_responses() -> None:
    model = tiny("llama")
    snapshots = Snapshots(model, reference=Frozen())
    world, logp = TextWorld(model), next_logprobs(snapshots)
    prompt = [1, 7, 9]
    greedy = world.sample(snapshots, [prompt], 1, Sampling(greedy=True, limit=6), Seed(0)).payload
    one = beam_search(logp, prompt, 1, 6, world.eos)[0]
    assert list(one.ids) == greedy.ids[0, 3:][greedy.response[0, 3:]].tolist()
    wide = beam_search(logp, prompt, 8, 6, world.eos)
    assert len(wide) == 8 and wide[0].score >= one.score
    samples = world.recorded([prompt] * 8, [list(b.ids) for b in wide])
    with torch.no_grad():
        said = world.rescore(snapshots, samples, ("policy",)).logprob("policy").sum(1)
    assert said.tolist() == pytest.approx([b.score for b in wide], abs=1e-4)
    same = relative(logp, next_logprobs(snapshots, "reference"))
    assert beam_search(same, prompt, 2, 3, world.eos)[0].score == pytest.approx(0.0, abs=1e-6)


def test_impossible_steps_are_not_taken_and_wrong_sizes_are_named() -> None:
    impossible = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    found = beam_search(lambda p: impossible.expand(len(p), 3), [9], 3, 2, [0])
    assert [b.ids for b in found] == [(1, 1)] and not found[0].ended
    back = relative(lambda p: impossible, lambda p: impossible)
    assert back(torch.tensor([[9]])).tolist() == [[-torch.inf, 0.0, -torch.inf]]
    with pytest.raises(GuerdonError, match="at least 1"):
        beam_search(lambda p: impossible, [9], 0, 2, [0])
