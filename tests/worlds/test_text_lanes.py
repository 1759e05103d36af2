"""Two packs at a time on a CPU: the same numbers as one after the other, and torch's state left as it was."""

import threading
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from guerdon.batch import Samples
from guerdon.errors import GuerdonError
from guerdon.worlds import Snapshots
from guerdon.worlds.text import TextWorld, lanes, token_rows
from guerdon.worlds.text.packs import packs
from tests.worlds.tiny import tiny

PROMPTS = [[1, 5, 6, 7]] * 3 + [[1, 9]] * 2 + [[1], [1, 4], [1, 8, 8]]
RESPONSES = [[8, 9], [8], [7, 6, 5, 4, 3], [5, 5], [6], [7, 8, 9], list(range(2, 30)), [4, 4, 4, 4]]
ROWS = token_rows(PROMPTS, RESPONSES)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also where the tests have one, and lanes for the smallest work."""
    before = torch.get_num_threads()
    monkeypatch.setattr(lanes, "_WORK", 0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def reads(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(lanes, "fitting", lambda *_: count)


STATS = ("entropy", "kl:old", "value:v", "bootstrap:v")


@pytest.mark.parametrize("still", [None, torch.tensor([False, True, False, True, True, True, False, False])])
def test_values_and_gradients_are_those_of_one_pack_after_the_other(
    monkeypatch: pytest.MonkeyPatch, still: Tensor | None
) -> None:
    """Log-probs, statistics and the gradients of model and value head, in float64: packs of other rows sum in another
    order."""
    torch.manual_seed(0)
    old, value = tiny("llama", seed=1).double(), nn.Linear(32, 1).double()
    found = []
    for count in (1, lanes.LANES):
        reads(monkeypatch, count)
        model = tiny("llama").double()
        world = TextWorld(model, value_heads={"v": value})
        given = Samples(ROWS, list(range(8)), terminated=torch.ones(8, dtype=torch.bool))
        steps = world.rescore(Snapshots(model, old=old), given, ["policy", "old"], STATS, still=still)
        assert not steps.logp["old"].requires_grad
        moving = ~still if still is not None else torch.ones(8, dtype=torch.bool)
        of = [steps.logp["policy"], *(steps.stats[name] for name in STATS)]
        loss = sum(((i + 1) * x[moving].square().sum() for i, x in enumerate(of[:2])), torch.zeros(()))
        loss = loss + of[3][moving].square().sum() if still is None else loss
        leaves = [*model.parameters(), *value.parameters()]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        found.append((*of, steps.logp["old"], *(torch.zeros(()) if g is None else g for g in grads)))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one, atol=1e-6, rtol=1e-6)


def test_a_policy_and_its_own_copy_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read with gradient, one without: the first ratio is 1."""
    model = tiny("llama")
    given = Samples(ROWS, list(range(8)))
    for kind in (None, torch.bfloat16):
        world = TextWorld(model, compute=kind)
        steps = world.rescore(Snapshots(model, copy=tiny("llama")), given, ["policy", "copy"])
        assert torch.equal(steps.logp["policy"], steps.logp["copy"])
        again = world.rescore(Snapshots(model, copy=tiny("llama")), given, ["policy"])
        assert torch.equal(steps.logp["policy"], again.logp["policy"])


def test_a_kept_graph_may_be_used_again_and_another_may_not() -> None:
    """As any part of a graph; what lanes hold is freed with the rest."""
    model = tiny("llama")
    steps = TextWorld(model).rescore(Snapshots(model), Samples(ROWS, list(range(8))), ["policy"])
    assert any("_Lanes" in type(f).__name__ for f in _nodes(steps.logp["policy"]))
    leaves, total = list(model.parameters()), steps.logp["policy"].sum()
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    second = torch.autograd.grad(total, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(total, leaves)


def _nodes(x: Tensor) -> list[object]:
    """Every node of a graph."""
    todo, seen = [x.grad_fn], []
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.append(node)
            todo += [n for n, _ in node.next_functions]
    return seen


class _Known(nn.Module):
    """Parameters whose gradients are known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.tensor(x)) for x in (2.0, 3.0, 5.0))


def test_gradients_by_hand() -> None:
    """y = a·x for the first piece, a·b·x for the second: dy/da = x₁ + b·x₂, dy/db = a·x₂, and c has none."""
    model = _Known()

    def work(x: float) -> Mapping[str, Tensor]:
        return {"y": model.a * x * (model.b if x > 1 else 1), "still": model.a.detach() * x}

    one, two = lanes.each(work, [1.0, 7.0], ["y", "still"], [model, model])
    assert (one["y"].item(), two["y"].item(), two["still"].item()) == (2.0, 42.0, 14.0)
    assert not one["still"].requires_grad
    (10 * one["y"] + two["y"]).backward()
    assert model.a.grad is not None and model.b.grad is not None
    assert (model.a.grad.item(), model.b.grad.item(), model.c.grad) == (31.0, 14.0, None)


def test_pieces_run_in_threads_of_their_own_in_the_modes_of_the_caller() -> None:
    together = threading.Barrier(2, timeout=60)  # broken unless both are under way

    def modes(_: int) -> tuple[object, ...]:
        together.wait()
        cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        return torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(), cast

    for grad in (False, True):
        with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.float16):
            assert lanes.at_once(modes, [0, 1]) == 2 * [(1, grad, False, torch.float16)]
    with torch.inference_mode():
        assert lanes.at_once(modes, [0, 1]) == 2 * [(1, False, True, False)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("bad", [0, 1])
def test_what_goes_wrong_in_a_lane_arrives(bad: int) -> None:
    def fails(i: int) -> int:
        if i == bad:
            raise KeyError("gone")
        return i

    with pytest.raises(KeyError, match="gone"):
        lanes.at_once(fails, [0, 1])
    assert torch.get_num_threads() == 2
    assert lanes.at_once(lambda i: i, [3, 4]) == [3, 4]


def test_when_lanes_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work for two, threads for two, and nothing whose order shows."""
    model = tiny("llama")
    monkeypatch.setattr(lanes, "_WORK", 10 * sum(p.numel() for p in model.parameters()))
    assert [lanes.fitting([model], n) for n in (19, 20)] == [1, 2]
    torch.set_num_threads(1)
    assert lanes.fitting([model], 20) == 1
    torch.set_num_threads(2)
    handle = model.model.layers[0].register_forward_hook(lambda *_: None)
    assert lanes.fitting([model], 20) == 1
    handle.remove()
    handle = model.lm_head.weight.register_hook(lambda grad: 2 * grad)  # would be applied a lane, and again to the sum
    assert lanes.fitting([model], 20) == 1
    handle.remove()
    assert lanes.fitting([model], 20) == 2
    assert lanes.fitting([model], 20, 1) == 1
    model.model.layers[0].dropped = nn.Dropout(0.5)
    assert lanes.fitting([model.eval()], 20) == 2
    assert lanes.fitting([model.train()], 20) == 1
    assert lanes.fitting([model.eval(), nn.Sequential(nn.Dropout(0.5))], 20) == 1  # a value head that draws


@pytest.mark.parametrize("budget", [8, 24, 1000])
def test_packs_for_lanes_hold_every_token_once_and_share_the_work(budget: int) -> None:
    made = list(packs(ROWS, budget, lanes=2))
    assert len(made) % 2 == 0 or len(made) == len({tuple(p) for p in PROMPTS})
    assert all(len(p.ids) <= budget or len({s.trunk for s in p.segments}) == 1 for p in made)
    place = torch.cat([p.place for p in made])
    assert torch.equal(place.sort().values, ROWS.response.flatten().nonzero().squeeze(1))
    if budget == 1000:  # the longest row stands against all others
        assert sorted(len(p.ids) for p in made) == [28, 30]


def test_a_world_may_read_one_pack_after_the_other() -> None:
    model = tiny("llama")
    steps = TextWorld(model, lanes=1).rescore(Snapshots(model), Samples(ROWS, list(range(8))), ["policy"])
    assert not any("_Lanes" in type(f).__name__ for f in _nodes(steps.logp["policy"]))
    for bad in (0, 3):
        with pytest.raises(GuerdonError, match=r"TextWorld\.lanes must be from 1 to 2"):
            TextWorld(model, lanes=bad)


def test_packs_of_unlike_size_are_read_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of 30 and 12 tokens: the short one's lane would wait."""
    seen: list[int] = []
    plain = lanes.at_once
    monkeypatch.setattr(lanes, "at_once", lambda call, of: seen.append(len(of)) or plain(call, of))
    model = tiny("llama")
    for length, expected in ((28, [2]), (10, [1, 1])):
        rows = token_rows([[1, 4], [1, 5]], [[7] * 28, [8] * length])
        steps = TextWorld(model).rescore(Snapshots(model, old=model), Samples(rows, [0, 1]), ["old"])
        assert steps.logp["old"].any(1).all()
        assert seen == expected
        seen.clear()


def test_a_batch_without_chosen_tokens_and_a_single_row() -> None:
    assert list(packs(token_rows([[1, 2]], [[]]), 100, lanes=2)) == []
    (only,) = packs(token_rows([[1, 2]], [[3]]), 100, lanes=2)
    assert only.ids.tolist() == [1, 2, 3]
    model = tiny("llama")
    rows = token_rows([[1, 2], [1]], [[], []])
    steps = TextWorld(model).rescore(Snapshots(model), Samples(rows, [0, 1]), ["policy"])
    assert not steps.logp["policy"].any()
