"""Re-scoring against the plain model's log_softmax on four architectures, and its invariances."""

from dataclasses import replace

import pytest
import torch

from guerdon.batch import Samples, Seed, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds import Frozen, Sampling, Snapshots
from guerdon.worlds.text import TextWorld, token_rows
from guerdon.worlds.text.heads import Head, find_head
from tests.worlds.tiny import ARCHITECTURES, tiny

PROMPTS = [[1, 5, 6], [1, 7, 8, 9, 10], [1, 11]]
RESPONSES = [[12, 13, 3], [14, 3], [15, 16, 17, 18, 3, 3, 0, 20, 21]]


def samples(side: str = "right", temperature: float = 0.7, rows: slice = slice(None), pad_id: int = 3) -> Samples:
    """Rows whose pad id is the end-of-sequence id, one with 3s and 0s inside the response."""
    p, r = PROMPTS[rows], RESPONSES[rows]
    payload = token_rows(p, r, pad_id=pad_id, side=side)  # type: ignore[arg-type]
    return Samples(replace(payload, temperature=temperature), p, terminated=torch.ones(len(p), dtype=torch.bool))


def plain(model: torch.nn.Module, temperature: float, i: int) -> torch.Tensor:
    """Full log-distribution [len(response), V] of one row, alone and without padding, by the model itself."""
    ids = torch.tensor([PROMPTS[i] + RESPONSES[i]])
    logits = model(input_ids=ids).logits[0, len(PROMPTS[i]) - 1 : -1].float()
    return torch.log_softmax(logits / temperature, -1)


def of_row(steps_value: torch.Tensor, payload: TokenRows, i: int) -> torch.Tensor:
    return steps_value[i][payload.response[i]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("fused", [True, False])
def test_parity_with_the_plain_model(architecture: str, fused: bool) -> None:
    """Log-probabilities, entropy, collision and full-vocabulary KL at the sampling temperature (TRL #3029:
    forgotten)."""
    model = tiny(architecture)
    shaped = architecture in ("llama", "qwen2")
    softcap, masks = 2.0 if architecture == "gemma2" else None, {"gpt2": 2048, "gemma2": 6}.get(architecture, 0)
    assert find_head(model) == Head(True, softcap, fast=shaped, packs=shaped, masks=masks)
    world, s = TextWorld(model), Snapshots(model, reference=Frozen())
    if not fused:
        world._heads[model] = Head(linear=False)
    with torch.no_grad():
        reference = [plain(model, 0.7, i) for i in range(3)]
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        policy = [plain(model, 0.7, i) for i in range(3)]
    got = samples()
    steps = world.rescore(s, got, ["policy", "reference"], ["entropy", "collision", "kl:reference"])
    assert torch.equal(steps.mask, got.payload.response)
    for i in range(3):
        at = torch.tensor(RESPONSES[i])[:, None]
        p, q = policy[i], reference[i]
        expected = {
            "policy": p.gather(1, at).squeeze(1),
            "reference": q.gather(1, at).squeeze(1),
            "entropy": -(p.exp() * p).sum(1),
            "collision": (2 * p).logsumexp(1),
            "kl:reference": (p.exp() * (p - q)).sum(1),
        }
        for name, want in expected.items():
            found = of_row({**steps.logp, **steps.stats}[name], got.payload, i)
            torch.testing.assert_close(found, want, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert bool((steps.stat("kl:reference")[steps.mask] > 1e-4).all())
    assert steps.logp["policy"].requires_grad and not steps.logp["reference"].requires_grad


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_is_the_plain_model_s(architecture: str) -> None:
    model = tiny(architecture)
    world, s = TextWorld(model), Snapshots(model)
    names = ["policy"]
    steps = world.rescore(s, samples(), names)
    steps.logprob("policy").sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    sum(plain(model, 0.7, i).gather(1, torch.tensor(RESPONSES[i])[:, None]).sum() for i in range(3)).backward()
    for (name, p), g in zip(model.named_parameters(), got, strict=True):
        torch.testing.assert_close(g, p.grad, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_side_batch_mates_and_split_change_nothing(architecture: str) -> None:
    """DPO with left and right padding gave different references (TRL a673da577)."""
    model = tiny(architecture)
    s = Snapshots(model)
    right, left = samples("right"), samples("left", pad_id=0)
    whole = TextWorld(model).rescore(s, right, ["policy"], ["entropy"])
    for world, other in (
        (TextWorld(model), left),
        (TextWorld(model, max_tokens=1), right),
        (TextWorld(model, max_tokens=16), left),
    ):
        steps = world.rescore(s, other, ["policy"], ["entropy"])
        for i in range(3):
            for name in ("logp", "stats"):
                a = next(iter(getattr(whole, name).values()))
                b = next(iter(getattr(steps, name).values()))
                torch.testing.assert_close(
                    of_row(a, right.payload, i), of_row(b, other.payload, i), atol=1e-5, rtol=1e-5
                )
    alone = TextWorld(model).rescore(s, samples(rows=slice(1, 2)), ["policy"])
    torch.testing.assert_close(
        alone.logp["policy"][alone.mask], of_row(whole.logp["policy"], right.payload, 1), atol=1e-5, rtol=1e-5
    )


def test_what_stands_in_padding_is_never_read() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    a = world.rescore(s, samples(pad_id=0), ["policy"]).logp["policy"]
    b = world.rescore(s, samples(pad_id=47), ["policy"]).logp["policy"]
    assert torch.equal(a, b)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_first_step_ratio_is_exactly_one(architecture: str) -> None:
    """Dropout and batch shapes made it differ (TRL #454, verl #6280): policy and old agree to the bit, in train mode
    too, whatever statistics ride along."""
    drop = {"resid_pdrop": 0.5, "embd_pdrop": 0.5} if architecture == "gpt2" else {"attention_dropout": 0.5}
    model = tiny(architecture, **drop).train()
    s = Snapshots(model, old=Frozen())
    for head in (None, Head(linear=False)):
        world = TextWorld(model, max_tokens=16)
        if head is not None:
            world._heads[model] = head
        steps = world.rescore(s, samples(), ["policy", "old"], ["entropy", "kl:old"])
        assert torch.equal(steps.logp["policy"].detach(), steps.logp["old"])
        assert steps.log_ratio("policy", "old").detach().abs().max() == 0
        torch.testing.assert_close(steps.stat("kl:old"), torch.zeros_like(steps.mask.float()), atol=1e-6, rtol=0)
        again = world.rescore(s, samples(), ["old"])
        assert torch.equal(again.logp["old"], steps.logp["old"])
    assert model.training


def test_rescoring_without_policy_or_under_no_grad_builds_no_graph() -> None:
    model = tiny("llama")
    s, world = Snapshots(model, old=Frozen()), TextWorld(model)
    assert not world.rescore(s, samples(), ["old"], ["entropy"]).stats["entropy"].requires_grad
    with torch.no_grad():
        assert not world.rescore(s, samples(), ["policy"]).logp["policy"].requires_grad


def test_multi_turn_rows_score_only_what_the_actor_chose() -> None:
    """Tool output inside a response is read but not scored."""
    model = tiny("llama")
    payload = token_rows([[1, 5]], [[12, 13, 20, 21, 14, 3]])
    chosen = payload.response.clone()
    chosen[0, 4:6] = False
    split = TokenRows(payload.ids, payload.attention, chosen)
    s, world = Snapshots(model), TextWorld(model)
    whole = world.rescore(s, Samples(payload, [[1, 5]]), ["policy"]).logp["policy"]
    part = world.rescore(s, Samples(split, [[1, 5]]), ["policy"])
    torch.testing.assert_close(part.logp["policy"][chosen], whole[chosen])
    assert part.logp["policy"][~chosen].abs().sum() == 0


def test_values_and_bootstraps_of_a_value_head() -> None:
    model = tiny("llama")
    head = torch.nn.Linear(32, 1)
    world, s = TextWorld(model, value_heads={"reward": head}), Snapshots(model)
    got = samples()
    over = torch.tensor([True, False, True])
    got = replace(got, terminated=over, truncated=~over)
    for linear in (True, False):
        world._heads[model] = Head(linear=linear)
        steps = world.rescore(s, got, ["policy"], ["value:reward", "bootstrap:reward"])
        for i in range(3):
            ids = torch.tensor([PROMPTS[i] + RESPONSES[i]])
            v = head(model.model(input_ids=ids)[0])[0, :, 0].float()
            n = len(PROMPTS[i])
            torch.testing.assert_close(
                of_row(steps.stat("value:reward"), got.payload, i), v[n - 1 : -1], atol=1e-5, rtol=1e-4
            )
            after = torch.cat([v[n:-1], v[-1:] * (not over[i])])
            torch.testing.assert_close(
                of_row(steps.stat("bootstrap:reward"), got.payload, i), after, atol=1e-5, rtol=1e-4
            )
    assert steps.stats["value:reward"].requires_grad


def test_lora_policy_reference_and_an_adapter_on_the_head() -> None:
    peft = pytest.importorskip("peft")
    from guerdon.worlds import AdapterOff

    base = tiny("llama")
    with torch.no_grad():
        before = [plain(base, 0.7, i).gather(1, torch.tensor(RESPONSES[i])[:, None]).squeeze(1) for i in range(3)]
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM"))
    assert not find_head(model.eval()).linear
    s, world = Snapshots(model, reference=AdapterOff()), TextWorld(model)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.2)
    got = samples()
    steps = world.rescore(s, got, ["policy", "reference"])
    for i in range(3):
        torch.testing.assert_close(of_row(steps.logp["reference"], got.payload, i), before[i], atol=1e-5, rtol=1e-4)
    assert steps.log_ratio().abs().max() > 0.01
    steps.logprob("policy").sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_errors_teach() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    with pytest.raises(NeedsError, match="no snapshot 'reference'"):
        world.rescore(s, samples(), ["reference"])
    with pytest.raises(NeedsError, match="no recorded log-probabilities"):
        world.rescore(s, samples(), ["sampler"])
    with pytest.raises(NeedsError, match="value head 'cost'"):
        world.rescore(s, samples(), ["policy"], ["value:cost"])
    with pytest.raises(NeedsError, match="'entropie' was asked for"):
        world.rescore(s, samples(), ["policy"], ["entropie"])
    with pytest.raises(GuerdonError, match="65 tokens is longer than the model's context of 64"):
        world.rescore(s, Samples(token_rows([[1] * 60], [[5] * 5]), [0]), ["policy"])
    with pytest.raises(GuerdonError, match="Row 1 begins with a response token"):
        world.rescore(s, Samples(token_rows([[1], []], [[5], [5]]), [0, 1]), ["policy"])


def test_rows_with_nothing_chosen_and_no_rows() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    steps = world.rescore(s, Samples(token_rows([[1, 5], [1]], [[], [6]]), [0, 1]), ["policy"], ["entropy"])
    assert steps.mask.sum(1).tolist() == [0, 1] and steps.logp["policy"][0].abs().sum() == 0
    assert len(world.rescore(s, Samples(token_rows([], []), []), ["policy"]).mask) == 0
    none = world.sample(s, [], 2, Sampling(limit=3), Seed(0))
    assert len(none) == 0
