"""Training a small reward network on preferences between trajectory segments, beside ``imitation``.

The peer is imitation's own preference model and cross-entropy loss where ``import imitation`` works; elsewhere a loop
written after its published algorithm, one pair of fragments at a time, and the page says why.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.arms import fresh
from benchmarks.page import Ratio, Section, table

STEPS, OBSERVED, ACTED, HIDDEN = 50, 17, 6, 32
BATCH, RATE = 32, 1e-3
PINS = (
    "imitation 1.0.1 asks for gymnasium~=0.29 and stable-baselines3~=2.2.1, older than what guerdon is tested with; "
    "after `pip install --no-deps imitation==1.0.1` the benchmark runs it"
)


class Problem(NamedTuple):
    """observation [2P,T+1,O] and action [2P,T,A] of segments, the first of each pair in the first half; preferred [P],
    1 where the first is better; order: the pairs of each update."""

    observation: Any
    action: Any
    preferred: Any
    order: list[Any]


def problem(settings: Mapping[str, Any]) -> Problem:
    """Random segments of a control task's size, labelled by the return of a hidden linear reward."""
    import torch

    g, pairs = torch.Generator().manual_seed(0), settings["pairs"]
    observation = torch.randn(2 * pairs, STEPS + 1, OBSERVED, generator=g)
    action = torch.randn(2 * pairs, STEPS, ACTED, generator=g)
    truth = (observation[:, :-1] @ torch.randn(OBSERVED, generator=g)).sum(1)
    orders = [torch.randperm(pairs, generator=g).split(BATCH) for _ in range(settings["epochs"])]
    return Problem(observation, action, (truth[:pairs] > truth[pairs:]).float(), [b for epoch in orders for b in epoch])


def network() -> Any:
    """Reward of (state, action): two hidden layers, the same weights for both arms."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Linear(OBSERVED + ACTED, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, 1))


def ours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns of all segments of a batch at once, Bradley–Terry on them."""
    import torch

    from guerdon.batch import Transitions
    from guerdon.preferences import bradley_terry, partial_return

    given = problem(settings)
    count, half = len(given.action), len(given.preferred)
    paid = torch.zeros(count, STEPS)
    segments = Transitions(given.observation, given.action, paid, paid == 0)
    net = network()

    def loss(pairs: Any) -> Any:
        rows = torch.cat([pairs, pairs + half])
        steps = torch.cat([segments.observation[rows, :-1], segments.action[rows]], -1)
        first, second = partial_return(net(steps).squeeze(-1), segments.mask[rows]).chunk(2)
        return bradley_terry(first, second, preferred=given.preferred[pairs]).mean()

    return _trained(net, loss, given.order)


def peer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """imitation's step where it can be imported, else ``loop``'s; 'name' says which, 'why' why."""
    given, why = problem(settings), ""
    try:
        import imitation.algorithms.preference_comparisons  # noqa: F401

        net, loss = _imitation(given)
    except ImportError as error:
        net, loss, why = *_loop(given), str(error).splitlines()[0]
    name = "a loop after imitation's algorithm" if why else "imitation"
    return {"name": name, "why": why, **_trained(net, loss, given.order)}


def _imitation(given: Problem) -> tuple[Any, Callable[[Any], Any]]:
    import numpy as np
    import torch
    from gymnasium.spaces import Box
    from imitation.algorithms.preference_comparisons import CrossEntropyRewardLoss, PreferenceModel
    from imitation.data.types import Trajectory
    from imitation.rewards.reward_nets import BasicRewardNet

    spaces = [Box(-np.inf, np.inf, (size,), np.float32) for size in (OBSERVED, ACTED)]
    net = BasicRewardNet(*spaces, hid_sizes=(HIDDEN, HIDDEN))
    with torch.no_grad():
        for theirs, same in zip(net.parameters(), network().parameters(), strict=True):
            theirs.copy_(same)
    model, cross_entropy, half = PreferenceModel(net), CrossEntropyRewardLoss(), len(given.preferred)
    fragments = [
        Trajectory(obs=o.numpy(), acts=a.numpy(), infos=None, terminal=False)
        for o, a in zip(given.observation, given.action, strict=True)
    ]
    preferred = given.preferred.numpy()

    def loss(pairs: Any) -> Any:
        chosen = pairs.tolist()
        return cross_entropy([(fragments[i], fragments[i + half]) for i in chosen], preferred[chosen], model).loss

    return net, loss


def _loop(given: Problem) -> tuple[Any, Callable[[Any], Any]]:
    import torch

    net, half = network(), len(given.preferred)
    fragments = [(o.numpy(), a.numpy()) for o, a in zip(given.observation, given.action, strict=True)]

    def rewards(fragment: Any) -> Any:
        observation, action = (torch.as_tensor(x) for x in fragment)
        return net(torch.cat([observation[:-1], action], 1)).squeeze(-1)

    def loss(pairs: Any) -> Any:
        chosen = pairs.tolist()
        probability = torch.empty(len(chosen))
        for at, i in enumerate(chosen):
            gap = (rewards(fragments[i + half]) - rewards(fragments[i])).sum().clip(-50, 50)
            probability[at] = 1 / (1 + gap.exp())
        return torch.nn.functional.binary_cross_entropy(probability, given.preferred[pairs])

    return net, loss


def _trained(net: Any, loss: Callable[[Any], Any], order: list[Any]) -> dict[str, Any]:
    """Seconds an update, the first left out, and every loss."""
    import torch

    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE)

    def updates() -> Iterator[float]:
        for pairs in order:
            now = loss(pairs)
            optimiser.zero_grad()
            now.backward()
            optimiser.step()
            yield now.item()

    going = updates()
    losses = [next(going)]
    began = time.perf_counter()
    losses += list(going)
    return {"seconds": (time.perf_counter() - began) / (len(losses) - 1), "losses": losses}


def run(pairs: int, epochs: int) -> dict[str, Any]:
    """Both arms with one and with two threads."""
    settings = {"pairs": pairs, "epochs": epochs}
    found = {
        (name, threads): fresh(f"benchmarks.segments:{name}", settings, threads=threads)
        for name in ("peer", "ours")
        for threads in (1, 2)
    }
    truth, some = found["peer", 1]["losses"], found["peer", 1]
    tried = [
        {
            "arm": name,
            "threads": threads,
            "seconds": x["seconds"],
            "difference": max(abs(a - b) for a, b in zip(truth, x["losses"], strict=True)),
        }
        for (name, threads), x in found.items()
    ]
    ends = [truth[0], truth[-1]]
    return {**settings, "peer": some["name"], "why": some["why"], "losses": ends, "tried": tried}


def page(result: Mapping[str, Any]) -> Section:
    """Seconds an update, at every thread count, and how far the losses lie apart."""
    best = {
        arm: min((t for t in result["tried"] if t["arm"] == arm), key=lambda t: t["seconds"])["seconds"]
        for arm in ("peer", "ours")
    }
    which = (
        f"`import imitation` does not work here ({result['why']}; {PINS}), so the peer is {result['peer']}: one pair "
        "of fragments at a time, as its preference model does."
        if result["why"]
        else "The peer is imitation's own `PreferenceModel` with its `CrossEntropyRewardLoss`."
    )
    far = max(t["difference"] for t in result["tried"])
    rows = [[t[k] for k in ("arm", "threads", "seconds", "difference")] for t in result["tried"]]
    text = f"""
Preferences between segments of {STEPS} steps ({OBSERVED} observed numbers, {ACTED} of action; {result["pairs"]} pairs
in batches of {BATCH}, {result["epochs"]} epochs of AdamW): a network of two hidden layers of {HIDDEN}, the same
weights, batches and order for both. {which} Ours is `partial_return` of all segments of a batch at once under
`bradley_terry`.
The loss falls from {result["losses"][0]:.3f} to {result["losses"][-1]:.3f}.

{table(("arm", "threads", "seconds an update", "largest difference of a loss"), rows)}
"""
    return Section(
        text,
        [
            Ratio("segments: updates a second over the peer's", best["peer"] / best["ours"], 3.0),
            Ratio("segments: largest difference of a loss", far, 1e-4, at_least=False),
        ],
    )
