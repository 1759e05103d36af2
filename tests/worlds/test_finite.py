"""The finite world against enumeration: laws, gradients, best-of-n with ties, frontiers."""

import itertools
import math

import pytest
import torch

from guerdon.batch import Samples, Seed
from guerdon.divergences import reverse_kl
from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds import Frozen, Sampling, Snapshots, Start
from guerdon.worlds.finite import FiniteWorld, LinearPolicy, TabularPolicy, exact, lookup

D = torch.float64


def law(*p: float) -> torch.Tensor:
    return torch.tensor(p, dtype=D).log()


def test_tilted_optimum_by_hand_and_its_identities() -> None:
    reference, reward = law(0.5, 0.25, 0.25, 0.0), torch.tensor([0.0, math.log(2), math.log(4), 99.0], dtype=D)
    best = exact.tilted(reference, reward, 1.0)
    torch.testing.assert_close(best.exp(), torch.tensor([0.25, 0.25, 0.5, 0.0], dtype=D))  # .5, .5, 1 over Z = 2
    assert float(exact.log_partition(reference, reward, 1.0)) == pytest.approx(math.log(2))
    assert float(exact.objective(best, reference, reward, 1.0)) == pytest.approx(math.log(2))
    other = law(0.2, 0.3, 0.5, 0.0)
    short = exact.log_partition(reference, reward, 0.7) - exact.objective(other, reference, reward, 0.7)
    torch.testing.assert_close(short, 0.7 * reverse_kl(other, exact.tilted(reference, reward, 0.7)))
    per_prompt = exact.tilted(reference.expand(2, 4), reward.expand(2, 4), torch.tensor([1.0, 0.7], dtype=D))
    torch.testing.assert_close(per_prompt[1], exact.tilted(reference, reward, 0.7))
    with pytest.raises(GuerdonError, match="beta > 0"):
        exact.tilted(reference, reward, 0.0)


def test_objective_gradient_is_autograd_s() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=D, requires_grad=True)
    reference = torch.log_softmax(torch.randn(3, 5, dtype=D), -1)
    reward = torch.randn(3, 5, dtype=D)
    for beta in (0.0, 0.3):
        exact.objective(torch.log_softmax(logits, -1), reference, reward, beta).sum().backward()
        with torch.no_grad():
            mine = exact.objective_gradient(torch.log_softmax(logits, -1), reference, reward, beta)
        torch.testing.assert_close(mine, logits.grad)
        logits.grad = None


@pytest.mark.parametrize("reward", [(0.0, 1.0, 2.0, 3.0), (1.0, 1.0, 0.0, 2.0), (5.0, 5.0, 5.0, 5.0)])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_best_of_n_is_enumeration(reward: tuple[float, ...], n: int) -> None:
    p = (0.1, 0.2, 0.3, 0.4)
    expected = [0.0] * 4
    for draws in itertools.product(range(4), repeat=n):
        mass = math.prod(p[i] for i in draws)
        top = max(reward[i] for i in draws)
        winners = [i for i in draws if reward[i] == top]
        for i in winners:
            expected[i] += mass / len(winners)
    got = exact.best_of_n(law(*p), torch.tensor(reward, dtype=D), n)
    torch.testing.assert_close(got.exp(), torch.tensor(expected, dtype=D), atol=1e-12, rtol=1e-12)


def test_best_of_n_stays_exact_at_the_edges() -> None:
    reference, reward = law(0.5, 0.0, 0.5 - 1e-9, 1e-9), torch.tensor([0.0, 9.0, 1.0, 2.0], dtype=D)
    got = exact.best_of_n(reference, reward, 1000)
    assert float(got[1]) == -math.inf and float(got.logsumexp(-1)) == pytest.approx(0, abs=1e-12)
    assert float(got[3]) == pytest.approx(math.log(-math.expm1(1000 * math.log1p(-1e-9))), rel=1e-9)
    assert float(got[0]) == pytest.approx(1000 * math.log(0.5), rel=1e-12)
    # KL is at most log n − (n − 1)/n, nearly reached when no response has much probability.
    fine = torch.full((2000,), -math.log(2000), dtype=D)
    law_of_best = exact.best_of_n(fine, torch.arange(2000, dtype=D), 8)
    bound = math.log(8) - 7 / 8
    assert bound - 0.01 < float(reverse_kl(law_of_best, fine)) <= bound
    with pytest.raises(GuerdonError, match="n >= 1"):
        exact.best_of_n(fine, fine, 0.5)


def test_tilt_at_kl_meets_the_budget_and_the_maximisers() -> None:
    torch.manual_seed(0)
    reference = torch.log_softmax(torch.randn(4, 6, dtype=D), -1)
    reward = torch.randn(4, 6, dtype=D)
    policy, rate = exact.tilt_at_kl(reference, reward, 0.2)
    torch.testing.assert_close(reverse_kl(policy, reference), torch.full((4,), 0.2, dtype=D), atol=1e-9, rtol=0)
    torch.testing.assert_close(policy, torch.log_softmax(reference + rate[:, None] * reward, -1))
    # Card 13's identity (2): KL(φ‖φ_Δ) = KL(φ‖p) − KL(φ_Δ‖p) + λ(E_{φ_Δ} r − E_φ r).
    phi = torch.log_softmax(torch.randn(4, 6, dtype=D), -1)
    right = reverse_kl(phi, reference) - reverse_kl(policy, reference)
    right = right + rate * (exact.expected(policy, reward) - exact.expected(phi, reward))
    torch.testing.assert_close(reverse_kl(phi, policy), right)
    tie = torch.tensor([1.0, 1.0, 0.0], dtype=D)
    limit, infinite = exact.tilt_at_kl(law(0.2, 0.3, 0.5), tie, 1.0)
    torch.testing.assert_close(limit.exp(), torch.tensor([0.4, 0.6, 0.0], dtype=D))
    assert math.isinf(float(infinite))


def test_win_rate() -> None:
    preference = exact.bradley_terry(torch.tensor([0.0, math.log(3)], dtype=D))
    torch.testing.assert_close(preference, torch.tensor([[0.5, 0.25], [0.75, 0.5]], dtype=D))
    # .25·(.5·.5 + .5·.25) + .75·(.5·.75 + .5·.5)
    got = exact.win_rate(law(0.25, 0.75), law(0.5, 0.5), preference)
    assert float(got) == pytest.approx(0.25 * 0.375 + 0.75 * 0.625)
    assert float(exact.win_rate(law(0.3, 0.7), law(0.3, 0.7), preference)) == pytest.approx(0.5)


def test_samples_follow_the_law_and_their_keys() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [2.0, 0.0, 0.0]])
    policy = TabularPolicy(logits)
    s, world = Snapshots(policy), FiniteWorld()
    got = world.sample(s, [0, 1], 20000, Sampling(temperature=2.0), Seed(0))
    share = torch.stack([torch.bincount(r, minlength=3) / 20000 for r in got.payload.response.reshape(2, -1)])
    torch.testing.assert_close(share, torch.softmax(logits / 2, -1), atol=0.012, rtol=0)
    assert share[0, 2] == 0 and got.terminated is not None and bool(got.terminated.all())
    small = world.sample(s, [1, 0], 5, Sampling(temperature=2.0), Seed(0))
    assert small.payload.response[:5].tolist() == got.payload.response[20000:20005].tolist()
    again = world.sample(s, [Start(1, key=1)], 5, Sampling(temperature=2.0), Seed(0))
    assert again.payload.response.tolist() == small.payload.response[:5].tolist()
    greedy = world.sample(s, [0, 1], 1, Sampling(greedy=True), Seed(0))
    assert greedy.payload.response.tolist() == [1, 0] and greedy.responses == [1, 0]
    assert world.sample(s, [1], 64, Sampling(top_p=0.5), Seed(0)).payload.response.tolist() == [0] * 64
    with pytest.raises(GuerdonError, match=r"in \[0, 2\), but 2 came"):
        world.sample(s, [2])


def test_rescore_is_exact_with_gradient_for_the_policy_alone() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 4, 2)
    policy = LinearPolicy(features, torch.tensor([0.5, -1.0]), torch.randn(3, 4))
    values = torch.nn.Embedding(3, 1)
    s = Snapshots(policy, reference=Frozen(), old=Frozen())
    with torch.no_grad():
        policy.weight.add_(0.3)
    s.capture("old")
    world = FiniteWorld(features, {"reward": values})
    got = world.sample(s, [0, 1, 2], 4, Sampling(temperature=0.5), Seed(1))
    steps = world.rescore(
        s, got, ["policy", "reference", "old", "sampler"], ["entropy", "collision", "kl:reference", "value:reward"]
    )
    logp = torch.log_softmax(policy() / 0.5, -1)
    reference = torch.log_softmax((features @ torch.tensor([0.5, -1.0]) + policy.base) / 0.5, -1)
    torch.testing.assert_close(steps.logp["policy"][:, 0], lookup(logp, got))
    torch.testing.assert_close(steps.logp["reference"][:, 0], lookup(reference, got))
    assert torch.equal(steps.logp["policy"].detach(), steps.logp["old"])
    torch.testing.assert_close(steps.logp["sampler"], steps.logp["old"])
    torch.testing.assert_close(steps.stats["kl:reference"][:, 0], reverse_kl(logp, reference)[got.payload.prompt])
    torch.testing.assert_close(steps.stats["entropy"][:, 0], -(logp.exp() * logp).sum(-1)[got.payload.prompt])
    assert torch.equal(steps.stats["value:reward"], values(got.payload.prompt))
    assert not steps.logp["reference"].requires_grad
    steps.logp["policy"].sum().backward()
    assert policy.weight.grad is not None and policy.weight.grad.abs().sum() > 0
    few = got.take(torch.tensor([7, 2]))
    assert torch.equal(world.rescore(s, few).logp["policy"], steps.logp["policy"][[7, 2]])


def test_sampled_policy_gradient_is_unbiased_for_the_exact_one() -> None:
    torch.manual_seed(0)
    policy = TabularPolicy(torch.randn(1, 4))
    s, world = Snapshots(policy), FiniteWorld()
    reward = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    got = world.sample(s, [0], 50000, Sampling(), Seed(3))
    steps = world.rescore(s, got)
    (steps.logp["policy"][:, 0] * lookup(reward, got)).mean().backward()
    logp = torch.log_softmax(policy.logits.detach(), -1)
    torch.testing.assert_close(policy.logits.grad, exact.objective_gradient(logp, logp, reward, 0.0), atol=0.02, rtol=0)


def test_errors_teach() -> None:
    s, world = Snapshots(TabularPolicy(torch.zeros(2, 3))), FiniteWorld()
    got = world.sample(s, [0])
    with pytest.raises(NeedsError, match="needs a value head 'cost'"):
        world.rescore(s, got, ["policy"], ["value:cost"])
    with pytest.raises(NeedsError, match="'entropie' was asked for"):
        world.rescore(s, got, ["policy"], ["entropie"])
    with pytest.raises(GuerdonError, match="payload is a list"):
        world.rescore(s, Samples([1], [0]))
    with pytest.raises(GuerdonError, match="must give logits"):
        FiniteWorld(torch.zeros(2, 4, 1)).sample(s, [0])
