"""Named parameters: every rule, no aliasing, exact restoration, exact resume, peft."""

import pytest
import torch
from torch import nn

from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds import EMA, AdapterOff, CopyEvery, Extrapolate, Frozen, History, Snapshots, only


class Tied(nn.Module):
    """An embedding whose matrix is the head's too, and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 2)
        self.head = nn.Linear(2, 3, bias=False)
        self.head.weight = self.embed.weight
        self.drop = nn.Dropout(0.9)
        with torch.no_grad():
            self.embed.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.embed(x)))


def step(model: nn.Module, amount: float = 1.0) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.add_(amount)


def value(snapshots: Snapshots, name: str) -> float:
    with snapshots.using(name) as module:
        return float(next(module.parameters()).detach().reshape(-1)[0])


def test_every_rule_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    s = Snapshots(
        model,
        reference=Frozen(),
        old=CopyEvery(2),
        ema=EMA(0.75),
        warm=EMA(lambda k: 0.0 if k < 3 else 0.5),
        beyond=Extrapolate("reference", "policy", 1.5),
        history=History(every=1, keep=2),
    )
    for k in (1, 2, 3):
        step(model)  # the weight is k
        s.refresh(k)
    assert value(s, "policy") == 3
    assert value(s, "reference") == 0
    assert value(s, "old") == 2
    # ema: .25·1 = .25; .75·.25 + .25·2 = .6875; .75·.6875 + .25·3 = 1.265625
    assert value(s, "ema") == 1.265625
    assert value(s, "warm") == 0.5 * 2 + 0.5 * 3
    assert value(s, "beyond") == 4.5
    assert (value(s, "history/0"), value(s, "history/1")) == (3, 2)
    assert s.versions() == {
        "policy": "policy@3",
        "reference": "reference@0",
        "old": "old@2",
        "ema": "ema@3",
        "warm": "warm@3",
        "beyond": "beyond@3",
        "history/0": "history/0@3",
        "history/1": "history/1@2",
    }
    s.capture("old")
    assert value(s, "old") == 3 and s.version("old") == "old@3"


def test_using_restores_the_very_parameters_and_modes() -> None:
    """Flow-GRPO's copy_ema_to kept an alias of the live weights, so the swap back left the EMA weights in the model."""
    model = Tied().train()
    s = Snapshots(model, ema=EMA(0.5))
    before = {k: (id(p), p.detach().clone()) for k, p in model.named_parameters()}
    step(model, 10.0)
    s.refresh(1)
    live = model.embed.weight.detach().clone()
    with s.using("ema") as module:
        assert not module.drop.training
        torch.testing.assert_close(module.embed.weight, before["embed.weight"][1] + 5)
        assert module.head.weight is module.embed.weight
    assert model.drop.training and model.training
    assert id(model.embed.weight) == before["embed.weight"][0] and model.head.weight is model.embed.weight
    torch.testing.assert_close(model.embed.weight, live, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="boom"), s.using("ema"):
        raise RuntimeError("boom")
    assert id(model.embed.weight) == before["embed.weight"][0] and model.training


def test_snapshots_do_not_alias_the_live_policy_or_each_other() -> None:
    model = nn.Linear(1, 1, bias=False)
    s = Snapshots(model, a=Frozen(), b=Frozen(), ema=EMA(0.5))
    start = value(s, "a")
    step(model)
    assert value(s, "a") == value(s, "b") == value(s, "ema") == start
    s.refresh(1)
    assert value(s, "a") == start and value(s, "ema") == pytest.approx(start + 0.5)


def test_ema_of_a_bfloat16_policy_is_kept_in_float32() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    with torch.no_grad():
        model.weight.fill_(1.0)
    s = Snapshots(model, ema=EMA(0.999))
    with torch.no_grad():
        model.weight.fill_(2.0)
    for k in range(1, 101):
        s.refresh(k)
    # In bfloat16 a step of 0.001 from 1.0 is rounded away.
    assert float(s.parameters("ema")["weight"]) == pytest.approx(2 - 0.999**100, abs=1e-5)
    with s.using("ema") as module:
        assert module.weight.dtype == torch.bfloat16


def test_gradients_reach_the_live_policy_only() -> None:
    model = Tied()
    s = Snapshots(model, reference=Frozen())
    x = torch.tensor([0, 1])
    with s.using("policy") as module:
        policy = module(x)
    with s.using("reference") as module:
        reference = module(x)
    assert not reference.requires_grad
    policy.sum().backward()
    assert model.embed.weight.grad is not None and bool(model.embed.weight.grad.abs().sum() > 0)


def test_resume_is_exact() -> None:
    def make() -> tuple[nn.Module, Snapshots]:
        torch.manual_seed(1)
        model = nn.Linear(3, 2)
        return model, Snapshots(model, reference=Frozen(), ema=EMA(0.9), history=History(1, 2))

    model, s = make()
    for k in range(1, 4):
        step(model, 0.1)
        s.refresh(k)
    saved = {k: v.clone() for k, v in s.state_dict().items()}
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    assert all(isinstance(v, torch.Tensor) for v in saved.values())
    other, resumed = make()
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    for m, t in ((model, s), (other, resumed)):
        step(m, 0.1)
        t.refresh(4)
    assert s.versions() == resumed.versions()
    for name in s.names():
        for key, x in s.parameters(name).items():
            assert torch.equal(x, resumed.parameters(name)[key]), (name, key)
    with pytest.raises(GuerdonError, match="saved snapshots are"):
        Snapshots(nn.Linear(3, 2), other=Frozen()).load_state_dict(saved)


def test_errors_teach() -> None:
    model = nn.Linear(1, 1)
    s = Snapshots(model, reference=Frozen())
    with pytest.raises(NeedsError, match="no snapshot 'old'; there are"):
        s.version("old")
    with pytest.raises(GuerdonError, match="new name"):
        s.add("policy", Frozen())
    with pytest.raises(GuerdonError, match="switches adapters off"):
        s.add("base", AdapterOff())
    with pytest.raises(GuerdonError, match="holds no parameters of its own"):
        s.capture("policy")
    with pytest.raises(GuerdonError, match=r"EMA.decay must lie in \[0, 1\]"):
        EMA(1.5).at(0)
    with pytest.raises(GuerdonError, match="one actor"):
        only({"a": s, "b": s})
    assert only({"a": s}) is s


def test_lora_reference_is_the_adapter_switched_off() -> None:
    peft = pytest.importorskip("peft")
    from tests.worlds.tiny import tiny

    base = tiny("llama")
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        before = base(ids).logits
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    s = Snapshots(model, reference=AdapterOff(), start=Frozen())
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.3)
    flags = [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        with s.using("reference") as module:
            off = module(ids).logits
        with s.using("start") as module:
            start = module(ids).logits
        with s.using("policy") as module:
            on = module(ids).logits
    torch.testing.assert_close(off, before)
    torch.testing.assert_close(start, before)
    assert bool((on - before).abs().max() > 1e-2)
    assert [p.requires_grad for p in model.parameters()] == flags
    # The adapters alone are copied.
    assert all("lora" in key for key in s.parameters("start"))
