"""Backbone products in bfloat16: what is rounded, what is not, and what never grows stale."""

import itertools

import pytest
import torch

from guerdon.batch import Samples
from guerdon.errors import GuerdonError
from guerdon.worlds import Frozen, Sampling, Snapshots
from guerdon.worlds.text import TextWorld, token_rows
from guerdon.worlds.text.heads import find_head
from tests.worlds.tiny import ARCHITECTURES, tiny

PROMPTS = [[1, 5, 6], [1, 5, 6], [1, 11]]
RESPONSES = [[12, 13, 3], [14, 3], [15, 16, 17, 18, 3]]


def samples() -> Samples:
    """Two responses to one prompt, and a row of its own."""
    return Samples(token_rows(PROMPTS, RESPONSES), PROMPTS, terminated=torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_probs_round_as_bfloat16_does_and_stay_float32(architecture: str) -> None:
    model = tiny(architecture)
    exact = TextWorld(model).rescore(Snapshots(model), samples()).logprob("policy").detach()
    steps = TextWorld(model, compute=torch.bfloat16).rescore(Snapshots(model), samples())
    rounded = steps.logprob("policy")
    assert rounded.dtype == torch.float32
    # A product of a few dozen terms in bfloat16 is right to about 2^-8 of its size; states pass a few of them.
    gap = (rounded - exact)[steps.mask].abs().max()
    assert 0 < gap < 0.1
    rounded.sum().backward()
    assert all(
        p.dtype == torch.float32 and p.grad is not None and bool(p.grad.isfinite().all())
        for p in (q for q in model.parameters() if q.grad is not None)
    )


def test_an_update_is_seen_by_the_next_pass() -> None:
    """torch keeps half copies of the weights for as long as autocast lasts; here it lasts one pass."""
    model = tiny("llama")
    world, snapshots = TextWorld(model, compute=torch.bfloat16), Snapshots(model)
    before = world.rescore(snapshots, samples()).logprob("policy").detach()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    after = world.rescore(snapshots, samples()).logprob("policy").detach()
    assert (before - after).abs().max() > 0.1


def test_rows_are_sampled_in_it_too_and_the_reference_s_cache_knows(tmp_path) -> None:
    model = tiny("llama")
    half = TextWorld(model, compute=torch.bfloat16, cache=tmp_path, eos=3)
    drawn = half.sample(Snapshots(model), PROMPTS, sampling=Sampling(limit=4))
    assert drawn.payload.logp is not None and drawn.payload.logp.dtype == torch.float32
    snapshots = Snapshots(model, reference=Frozen())
    rounded = half.rescore(snapshots, samples(), ["reference"]).logprob("reference")
    exact = TextWorld(model, cache=tmp_path).rescore(snapshots, samples(), ["reference"]).logprob("reference")
    plain = TextWorld(model).rescore(snapshots, samples(), ["reference"]).logprob("reference")
    assert torch.equal(exact, plain) and not torch.equal(rounded, plain)


def test_logits_are_narrow_where_that_is_asked_for_and_the_cache_knows(tmp_path) -> None:
    """Log-probs of policy and reference alike, so that they agree to the bit at the start; float32 all the same."""
    model = tiny("llama")
    snapshots = Snapshots(model, reference=Frozen())
    found = {}
    for compute in (None, torch.bfloat16):
        for logits in (None, torch.bfloat16):
            world = TextWorld(model, compute=compute, logits=logits, cache=tmp_path)
            for stats in ((), ("entropy",)):
                steps = world.rescore(snapshots, samples(), ["policy", "reference"], stats)
                assert torch.equal(steps.logprob("policy"), steps.logprob("reference"))
            found[compute, logits] = steps.logprob("reference")[steps.mask]
            plain = TextWorld(model, compute=compute, logits=logits).rescore(snapshots, samples(), ["reference"])
            assert torch.equal(plain.logprob("reference")[steps.mask], found[compute, logits])
    gaps = [(a - b).abs().max() for a, b in itertools.combinations(found.values(), 2)]
    assert all(0 < gap < 0.15 for gap in gaps)
    assert all(x.dtype == torch.float32 for x in found.values())
    with pytest.raises(GuerdonError, match="logits must be None"):
        TextWorld(model, logits=torch.float32)


def test_the_probe_is_not_fooled_by_autocast_and_other_types_are_refused() -> None:
    model = tiny("llama")
    with torch.autocast("cpu", torch.bfloat16):
        assert find_head(model).packs and find_head(model).fast
    with pytest.raises(GuerdonError, match="compute must be None"):
        TextWorld(model, compute=torch.float64)
