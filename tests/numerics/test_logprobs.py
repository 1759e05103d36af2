"""The fused log-probabilities against their readable twin: values, gradients, memory, masks."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from guerdon.errors import GuerdonError
from guerdon.logprobs import WANTS, from_logits, token_logprobs, token_logprobs_reference


def problem(
    seed: int, tokens: int, width: int, vocab: int, bias: bool = True, dtype: torch.dtype = torch.float32
) -> dict:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    return {
        "hidden": normal(tokens, width).requires_grad_(),
        "weight": normal(vocab, width).requires_grad_(),
        "bias": normal(vocab).requires_grad_() if bias else None,
        "labels": torch.randint(0, vocab, (tokens,), generator=g),
        "second": (normal(tokens, width + 1), normal(vocab, width + 1), normal(vocab) if bias else None),
    }


def run(function, p: dict, upstream_seed: int = 9, **kwargs) -> tuple[dict, dict]:
    """Outputs and the gradients of a random combination of all of them."""
    arguments = {k: v for k, v in p.items() if k not in ("hidden", "weight", "labels")} | kwargs
    out = function(p["hidden"], p["weight"], p["labels"], **arguments)
    g = torch.Generator().manual_seed(upstream_seed)
    loss = sum((value * torch.randn(value.shape, generator=g).to(value.dtype)).sum() for value in out.values())
    leaves = {k: p[k] for k in ("hidden", "weight", "bias") if p[k] is not None and p[k].requires_grad}
    return out, dict(zip(leaves, torch.autograd.grad(loss, leaves.values()), strict=True))


def assert_same(got: tuple[dict, dict], expected: tuple[dict, dict], tolerance: float = 1e-5) -> None:
    assert list(got[0]) == list(expected[0])
    for part, other in zip(got, expected, strict=True):
        for name in other:
            scale = max(1.0, other[name].abs().max().item()) if other[name].numel() else 1.0
            torch.testing.assert_close(
                part[name], other[name], rtol=0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}"
            )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    tokens=st.integers(0, 9),
    width=st.integers(1, 6),
    vocab=st.integers(1, 23),
    bias=st.booleans(),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    softcap=st.sampled_from([None, 2.0]),
    logit_scale=st.sampled_from([1.0, 0.25]),
    chunk_tokens=st.integers(1, 12),
    chunk_vocab=st.integers(1, 30),
    want=st.sets(st.sampled_from(WANTS), min_size=1),
)
def test_parity_with_the_twin(
    seed, tokens, width, vocab, bias, temperature, softcap, logit_scale, chunk_tokens, chunk_vocab, want
) -> None:
    p = problem(seed, tokens, width, vocab, bias)
    options = {"want": sorted(want), "temperature": temperature, "softcap": softcap, "logit_scale": logit_scale}
    got = run(token_logprobs, p, **options, chunk_tokens=chunk_tokens, chunk_vocab=chunk_vocab)
    # Logits, and with them the terms that a gradient sums up, grow as the temperature falls.
    assert_same(got, run(token_logprobs_reference, p, **options), 1e-5 / min(temperature, 1.0))


@pytest.mark.parametrize("chunk_vocab", [7, 100])
@pytest.mark.parametrize("want", [w for n in range(1, 5) for w in itertools.combinations(WANTS, n)])
def test_gradcheck_every_subset(want, chunk_vocab) -> None:
    p = problem(3, 4, 3, 11, dtype=torch.float64)

    def outputs(hidden, weight, bias):
        out = token_logprobs(
            hidden,
            weight,
            p["labels"],
            bias=bias,
            second=p["second"],
            want=want,
            temperature=0.7,
            softcap=3.0,
            chunk_tokens=3,
            chunk_vocab=chunk_vocab,
        )
        return tuple(out.values())

    assert torch.autograd.gradcheck(outputs, (p["hidden"], p["weight"], p["bias"]))


def test_hand_values() -> None:
    """softmax(log 1, log 2, log 5) = (1/8, 1/4, 5/8) against the uniform distribution."""
    hidden, weight = torch.ones(1, 1), torch.tensor([[1.0], [2.0], [5.0]]).log()
    second = (torch.zeros(1, 2), torch.zeros(3, 2), None)
    entropy = math.log(8) / 8 + math.log(4) / 4 + 5 * math.log(8 / 5) / 8
    for chunk in (1, 2, 3):
        out = token_logprobs(hidden, weight, torch.tensor([1]), want=WANTS, second=second, chunk_vocab=chunk)
        assert out["logp"].item() == pytest.approx(math.log(1 / 4), abs=1e-6)
        assert out["entropy"].item() == pytest.approx(entropy, abs=1e-6)
        assert out["collision"].item() == pytest.approx(math.log(30 / 64), abs=1e-6)
        assert out["kl"].item() == pytest.approx(math.log(3) - entropy, abs=1e-6)


def test_temperature_belongs_to_the_logits() -> None:
    """TRL #3029, prime-rl #697, OpenRLHF #1319: forgotten, applied to log-probs, or missing from the entropy."""
    p = problem(1, 5, 4, 9)
    logits = (p["hidden"] @ p["weight"].T + p["bias"]).detach()
    right = torch.distributions.Categorical(logits=logits / 0.5)
    out = token_logprobs(
        p["hidden"], p["weight"], p["labels"], bias=p["bias"], want=("logp", "entropy"), temperature=0.5
    )
    torch.testing.assert_close(out["logp"], right.log_prob(p["labels"]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["entropy"], right.entropy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [token_logprobs, token_logprobs_reference])
def test_padding_words_do_not_count(function) -> None:
    """verl 37ff251ea: padding columns past the vocabulary counted as exp(0) = 1, wrong exactly when peaked."""
    p = problem(2, 6, 4, 13)
    expected = run(function, p, want=WANTS)
    pad = torch.full((3, 4), 50.0)
    padded = p | {
        "weight": torch.cat([p["weight"].detach(), pad]).requires_grad_(),
        "bias": torch.cat([p["bias"].detach(), torch.zeros(3)]).requires_grad_(),
        "second": (
            p["second"][0],
            torch.cat([p["second"][1], torch.ones(3, 5)]),
            torch.cat([p["second"][2], torch.ones(3)]),
        ),
    }
    out, grads = run(function, padded, want=WANTS, real_vocab=13)
    assert (grads["weight"][13:] == 0).all() and (grads["bias"][13:] == 0).all()
    grads = {"hidden": grads["hidden"], "weight": grads["weight"][:13], "bias": grads["bias"][:13]}
    assert_same((out, grads), expected, 1e-6)


@pytest.mark.parametrize("chunks", [{}, {"chunk_tokens": 2, "chunk_vocab": 4}])
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e9])
@pytest.mark.parametrize("function", [token_logprobs, token_logprobs_reference, "from_logits"])
def test_nothing_under_the_mask_matters(function, junk, chunks) -> None:
    mask = torch.tensor([True, False, True, True, False])
    results = []
    for fill, label in ((0.0, 0), (junk, -100)):
        p = problem(4, 5, 3, 10)
        p["hidden"] = torch.where(mask[:, None], p["hidden"].detach(), fill).requires_grad_()
        p["labels"] = torch.where(mask, p["labels"], label)
        p["second"] = (torch.where(mask[:, None], p["second"][0], fill), *p["second"][1:])
        if function == "from_logits":
            second = p["second"][0] @ p["second"][1].T
            out = from_logits(p["hidden"], p["labels"].clamp(max=2), want=WANTS, second=second[:, :3], mask=mask)
            (grad,) = torch.autograd.grad(sum(v.sum() for v in out.values()), p["hidden"])
            results.append((out, {"hidden": grad}))
        else:
            results.append(run(function, p, want=WANTS, mask=mask, **(chunks if function is token_logprobs else {})))
    assert_same(results[1], results[0], 0.0)
    for name in WANTS:
        assert (results[1][0][name][~mask] == 0).all() and results[1][0][name].isfinite().all()
    assert (results[1][1]["hidden"][~mask] == 0).all()
    assert all(g.isfinite().all() for g in results[1][1].values())


def test_everything_masked_and_no_tokens() -> None:
    p = problem(4, 5, 3, 10)
    out, grads = run(token_logprobs, p, want=WANTS, mask=torch.zeros(5, dtype=torch.bool))
    assert all((v == 0).all() for v in (*out.values(), *grads.values()))
    out, _ = run(token_logprobs, problem(4, 0, 3, 10), want=WANTS)
    assert all(v.shape == (0,) for v in out.values())


def test_leading_shape_is_kept() -> None:
    p = problem(6, 6, 3, 10)
    flat = token_logprobs(p["hidden"], p["weight"], p["labels"], want=("logp", "entropy"))
    for function in (token_logprobs, token_logprobs_reference):
        out = function(p["hidden"].reshape(2, 3, 3), p["weight"], p["labels"].reshape(2, 3), want=("logp", "entropy"))
        for name in out:
            torch.testing.assert_close(out[name], flat[name].reshape(2, 3))


def test_bfloat16_is_computed_in_float32_and_gradients_come_back_in_bfloat16() -> None:
    p = problem(7, 8, 16, 50, dtype=torch.bfloat16)
    wide = {k: v.detach().float().requires_grad_() if k in ("hidden", "weight", "bias") else v for k, v in p.items()}
    wide["second"] = tuple(x.float() for x in p["second"])
    got, grads = run(token_logprobs, p, want=WANTS, chunk_vocab=7, chunk_tokens=3)
    expected, wide_grads = run(token_logprobs_reference, wide, want=WANTS)
    for name in WANTS:
        assert got[name].dtype == torch.float32
        torch.testing.assert_close(got[name], expected[name], rtol=1e-5, atol=1e-5)
    for name, grad in grads.items():
        assert grad.dtype == torch.bfloat16
        torch.testing.assert_close(grad.float(), wide_grads[name], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("want", [("logp",), WANTS])
@pytest.mark.parametrize("kept", [0, 1 << 24])
def test_what_is_kept_is_what_would_be_computed(want, kept, monkeypatch) -> None:
    """Default chunks over a vocabulary that is cut, few enough to be kept and too many; the gradient may be asked for
    twice."""
    monkeypatch.setattr("guerdon.logprobs.fused._CPU_KEPT", kept)
    p = problem(11, 600, 4, 8200)
    expected = run(token_logprobs_reference, p, want=want)
    assert_same(run(token_logprobs, p, want=want), expected, 2e-5)
    out = token_logprobs(p["hidden"], p["weight"], p["labels"], bias=p["bias"], second=p["second"], want=want)
    once, again = (torch.autograd.grad(out["logp"].sum(), p["hidden"], retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("chunks", [{}, {"chunk_tokens": 3, "chunk_vocab": 7}])
def test_gradient_products_in_bfloat16_round_and_leave_the_values(chunks) -> None:
    """Values to the bit; gradients to bfloat16's rounding (2^-8 of the largest), and not equal."""
    p = problem(12, 8, 16, 50)
    values, grads = run(token_logprobs, p, want=("logp",), **chunks)
    rounded, other = run(token_logprobs, p, want=("logp",), products=torch.bfloat16, **chunks)
    assert torch.equal(values["logp"], rounded["logp"])
    for name in ("hidden", "weight"):
        gap = (grads[name] - other[name]).abs().max()
        assert 0 < gap < 2**-7 * grads[name].abs().max()


def test_autocast_changes_nothing() -> None:
    """TRL #454, verl #6280: a ratio that differs from 1 on the first step because one side ran under autocast."""
    p = problem(8, 8, 16, 50)
    expected = run(token_logprobs, p, want=WANTS, chunk_vocab=7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = run(token_logprobs, p, want=WANTS, chunk_vocab=7)
    assert_same(got, expected, 0.0)


@pytest.mark.parametrize("scale", [1e-6, 1e2, 1e4])
def test_extreme_logits_stay_finite(scale) -> None:
    p = problem(5, 6, 4, 12)
    p["hidden"] = (p["hidden"].detach() * scale).requires_grad_()
    for chunks in ({}, {"chunk_vocab": 5}):
        out, grads = run(token_logprobs, p, want=WANTS, **chunks)
        assert all(v.isfinite().all() for v in (*out.values(), *grads.values()))
        assert (out["entropy"] >= -1e-6).all() and (out["logp"] <= 0).all() and (out["kl"] >= -1e-4).all()


@pytest.mark.parametrize("chunk_vocab", [2, 3, 20])
def test_excluded_words_give_no_nan(chunk_vocab) -> None:
    """A bias of -inf excludes a word; whole blocks of such words are the hard case."""
    p = problem(11, 4, 3, 12)
    bias = p["bias"].detach().clone()
    bias[3:9] = -math.inf
    p["bias"] = bias.requires_grad_()
    p["labels"] = torch.tensor([0, 1, 10, 11])
    got = run(token_logprobs, p, want=WANTS, chunk_vocab=chunk_vocab)
    assert_same(got, run(token_logprobs_reference, p, want=WANTS))
    assert (got[1]["bias"][3:9] == 0).all()


def test_from_logits_with_excluded_words() -> None:
    logits = torch.tensor([[0.0, 1.0, -math.inf]], requires_grad=True)
    second = torch.tensor([[0.5, 0.5, -math.inf]])
    out = from_logits(logits, torch.tensor([1]), want=WANTS, second=second)
    q = torch.tensor([0.0, 1.0]).softmax(0)
    assert out["entropy"].item() == pytest.approx(-(q * q.log()).sum().item(), abs=1e-6)
    assert out["kl"].item() == pytest.approx((q * (2 * q).log()).sum().item(), abs=1e-6)
    (grad,) = torch.autograd.grad(sum(v.sum() for v in out.values()), logits)
    assert grad.isfinite().all() and grad[0, 2] == 0
    only = from_logits(logits, torch.tensor([1]))
    torch.testing.assert_close(only["logp"], out["logp"])


def test_chunk_sizes_change_nothing_and_second_gets_no_gradient() -> None:
    p = problem(12, 20, 5, 40)
    p["second"] = tuple(x.requires_grad_() for x in p["second"])
    expected = run(token_logprobs, p, want=WANTS)
    for tokens, vocab in ((1, 1), (3, 40), (20, 7), (50, 39)):
        assert_same(run(token_logprobs, p, want=WANTS, chunk_tokens=tokens, chunk_vocab=vocab), expected, 2e-6)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(expected[0]["kl"].sum(), p["second"])


def test_frozen_head_and_no_grad() -> None:
    p = problem(13, 6, 4, 15)
    expected = run(token_logprobs, p, want=WANTS)
    frozen = p | {"weight": p["weight"].detach(), "bias": p["bias"].detach()}
    out, grads = run(token_logprobs, frozen, want=WANTS, chunk_vocab=4)
    assert_same((out, grads), (expected[0], {"hidden": expected[1]["hidden"]}), 2e-6)
    with torch.no_grad():
        out = token_logprobs(p["hidden"], p["weight"], p["labels"], bias=p["bias"])
    assert not out["logp"].requires_grad
    torch.testing.assert_close(out["logp"], expected[0]["logp"].detach())


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor):
                self.numel = max(self.numel, x.numel())
        return out


def test_memory_is_bounded_by_the_block_at_a_vocabulary_of_128k() -> None:
    """TRL #3678, #4013, #5853: out of memory is vocabulary x tokens, not model size."""
    tokens, width, vocab = 160, 4, 128_256
    p = problem(14, tokens, width, vocab, bias=False)
    with Largest() as seen:
        got = run(token_logprobs, p, want=WANTS, chunk_tokens=64, chunk_vocab=8192)
    assert seen.numel <= max(64 * 8192, p["second"][1].numel())
    with Largest() as default:
        run(token_logprobs, p, want=("logp", "entropy"))
    assert default.numel <= 1 << 20
    # The twin in float64: in float32 a log_softmax over so many words is itself off by 8e-5 (the fused sums by 2e-6).
    exact = {k: v.detach().double().requires_grad_() if k in ("hidden", "weight") else v for k, v in p.items()}
    exact["second"] = (*(x.double() for x in p["second"][:2]), None)
    with Largest() as plain:
        out, grads = run(token_logprobs_reference, exact, want=WANTS)
    assert plain.numel >= tokens * vocab
    for name in WANTS:
        torch.testing.assert_close(got[0][name].double(), out[name], rtol=0, atol=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(got[1][name].double(), grad, rtol=0, atol=1e-4 * grad.abs().max().item())


def test_errors_say_what_to_do() -> None:
    p = problem(15, 4, 3, 10)
    h, w, y = p["hidden"], p["weight"], p["labels"]
    cases = [
        ({"labels": torch.tensor([0, 1, 10, 2])}, r"0\.\.9.*got 10"),
        ({"labels": torch.tensor([0, 1, -100, 2])}, "got -100.*mask"),
        ({"labels": None}, "labels"),
        ({"labels": y.int()}, "int64"),
        ({"labels": y[:2]}, "one entry per token"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, "one entry per token"),
        ({"want": ("perplexity",)}, "perplexity"),
        ({"want": ()}, "names some of"),
        ({"want": ("kl",)}, "second"),
        ({"temperature": 0.0}, "positive"),
        ({"temperature": math.inf}, "positive"),
        ({"real_vocab": 11}, "real_vocab"),
        ({"softcap": 0.0}, "softcap"),
        ({"weight": w[:, :2]}, "weight must be"),
        ({"want": ("kl",), "second": (h, w[:9], None)}, "share one vocabulary"),
    ]
    for change, message in cases:
        arguments = {"hidden": h, "weight": w, "labels": y} | change
        for function in (token_logprobs, token_logprobs_reference):
            with pytest.raises(GuerdonError, match=message):
                function(**arguments)
    with pytest.raises(GuerdonError, match="at least one"):
        token_logprobs(h, w, y, chunk_tokens=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("temperature", "logit_scale"), [(1.0, 1.0), (0.5, 0.25)])
def test_what_is_kept_for_the_backward_pass(bias, temperature, logit_scale, monkeypatch) -> None:
    """Few tokens in blocks of the module's own size, several of them both ways, and a gradient for every leaf."""
    monkeypatch.setattr("guerdon.logprobs.fused._CPU_BLOCK", 24)
    monkeypatch.setattr("guerdon.logprobs.fused._CHUNK_VOCAB", 8)
    p = problem(4, 11, 5, 23, bias)
    options = {"temperature": temperature, "logit_scale": logit_scale}
    assert_same(run(token_logprobs, p, **options), run(token_logprobs_reference, p, **options), 1e-6)


def test_what_is_kept_passes_gradcheck_with_its_own_blocks() -> None:
    p = problem(3, 4, 3, 11, dtype=torch.float64)

    def outputs(hidden, weight, bias):
        return token_logprobs(hidden, weight, p["labels"], bias=bias, temperature=0.7)["logp"]

    assert torch.autograd.gradcheck(outputs, (p["hidden"], p["weight"], p["bias"]))


@pytest.mark.parametrize("products", [None, torch.bfloat16])
def test_a_confident_token_keeps_its_small_gradient(products) -> None:
    """1 − p of a token with p = 1 − 2e-5 is far below what bfloat16 (or 1 − p in float32, to 1 %) tells from 0."""
    hidden = torch.ones(1, 1, requires_grad=True)
    weight = torch.tensor([[11.0], [0.0], [0.0]], requires_grad=True)
    token_logprobs(hidden, weight, torch.tensor([0]), products=products)["logp"].backward()
    others = 2 / (math.exp(11.0) + 2)
    assert weight.grad[0].item() == pytest.approx(others, rel=1e-2 if products else 1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("softcap", [None, 2.0])  # one is computed by what is kept, the other block by block
def test_narrow_logits_are_rounded_and_nothing_else(bias, softcap) -> None:
    """Values are those of the rounded product's logits, gradients those of a product that would not round."""
    p = problem(8, 30, 16, 40, bias)
    wide, upstream = p["hidden"] @ p["weight"].T, torch.randn(30, generator=torch.Generator().manual_seed(1))
    narrow = (p["hidden"].bfloat16() @ p["weight"].bfloat16().T).float()
    z = 0.5 * (wide + (narrow - wide).detach() + (p["bias"] if bias else 0.0))
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    leaves = [p["hidden"], p["weight"], *([p["bias"]] if bias else [])]
    options = {"bias": p["bias"], "softcap": softcap, "logit_scale": 0.5, "temperature": 0.7}
    found = []
    for out in (
        token_logprobs(p["hidden"], p["weight"], p["labels"], **options, logits=torch.bfloat16),
        from_logits(z, p["labels"], temperature=0.7),
    ):
        found.append((out["logp"], *torch.autograd.grad((out["logp"] * upstream).sum(), leaves)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)
    exact = token_logprobs(p["hidden"], p["weight"], p["labels"], **options)["logp"]
    assert 1e-4 < (found[0][0] - exact).abs().max() < 0.1


def test_narrow_logits_of_both_distributions_meet_alike() -> None:
    """The KL of a head against itself is 0 to float32's rounding, which it is not where one side alone is rounded."""
    p = problem(8, 30, 16, 40)
    second = (p["hidden"], p["weight"], p["bias"])
    options = {"bias": p["bias"], "second": second, "want": ("kl",)}
    kl = token_logprobs(p["hidden"], p["weight"], None, **options, logits=torch.bfloat16, chunk_tokens=7)["kl"]
    assert kl.abs().max() < 1e-6


@pytest.mark.parametrize("logits", [None, torch.bfloat16])
@pytest.mark.parametrize("products", [None, torch.bfloat16])
def test_a_policy_and_its_copy_agree_to_the_bit(products, logits) -> None:
    """The first ratio of an update is exactly 1: one side is read with gradient, the other without."""
    p = problem(6, 600, 16, 4100)
    given = (p["hidden"], p["weight"], p["labels"])
    live = token_logprobs(*given, bias=p["bias"], products=products, logits=logits)["logp"]
    with torch.no_grad():
        still = token_logprobs(*given, bias=p["bias"], logits=logits)["logp"]
        more = token_logprobs(*given, bias=p["bias"], want=("entropy", "logp"), logits=logits)["logp"]
    assert torch.equal(live, still) and torch.equal(live, more)
