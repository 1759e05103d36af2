"""Rows lie in a forward pass in four ways, and every way gives the values and gradients of the model itself."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Samples, TokenRows
from guerdon.errors import GuerdonError
from guerdon.worlds import AdapterOff, Frozen, Snapshots
from guerdon.worlds.text import TextWorld, masked, token_rows
from guerdon.worlds.text.heads import backbone, find_head
from guerdon.worlds.text.packs import Pack, packs
from guerdon.worlds.text.rescore import LAYOUTS, Chunk, pieces
from tests.worlds.tiny import ARCHITECTURES, COMMON, tiny

TEMPERATURE = 0.7
PROMPT, OTHER = [1, 5, 6, 7], [1, 8]
ROWS: list[tuple[list[int], list[int]]] = [
    # A group of eight responses of different lengths, one of them twice, one of a single token.
    *((PROMPT, [12 + i, 3, *range(20, 20 + n)]) for i, n in enumerate((0, 1, 2, 3, 5, 9))),
    (PROMPT, [12, 3]),
    (PROMPT, [9]),
    (OTHER, [10, 11, 3]),  # a pair
    (OTHER, [30, 3]),
    ([*PROMPT, 12], [3, 14]),  # another's prompt is the beginning of its own, and its row another's too
    ([1], [40, 41, 42, 43, 3]),  # a row of its own
]


def rows(side: str = "right", garbage: int = 0) -> TokenRows:
    """The rows above; in one the actor did not choose the tokens in the middle (a tool's output)."""
    made = token_rows([p for p, _ in ROWS], [r for _, r in ROWS], side=side)  # type: ignore[arg-type]
    chosen = made.response.clone()
    at = int(chosen[5].nonzero()[2])
    chosen[5, at : at + 3] = False
    ids = torch.where(made.attention, made.ids, garbage)
    return TokenRows(ids, made.attention, chosen, temperature=TEMPERATURE)


def samples(payload: TokenRows) -> Samples:
    """With rows that are over and rows that were cut."""
    over = torch.arange(len(payload)) % 3 > 0
    return Samples(payload, [p for p, _ in ROWS], terminated=over, truncated=~over)


def plain(model: Any, of: TokenRows, i: int) -> Tensor:
    """Full log-distributions [m,V] before the chosen tokens of a row, by the model alone, without padding."""
    ids, chosen = of.ids[i][of.attention[i]], of.response[i][of.attention[i]]
    logits = model(input_ids=ids[None]).logits[0, :-1].float()
    return torch.log_softmax(logits / TEMPERATURE, -1)[chosen[1:]]


def labels(of: TokenRows, i: int) -> Tensor:
    """The chosen ids of a row."""
    return of.ids[i][of.response[i]]


def weighed(steps: Mapping[str, Tensor], of: TokenRows) -> Tensor:
    """A loss in which every chosen token of every value has its own weight."""
    gain = torch.randn(int(of.response.sum()), generator=torch.Generator().manual_seed(7))
    return sum(((k + 1) * gain * steps[name][of.response]).sum() for k, name in enumerate(sorted(steps)))  # type: ignore[return-value]


def moved(model: Any) -> None:
    """Weights a little different from what they were."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))


STATS = ("entropy", "collision", "kl:reference", "value:reward", "bootstrap:reward")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_values_are_the_model_s_in_every_layout_padding_and_budget(architecture: str) -> None:
    """TRL a673da577: the padding side changed the reference. What stands in padding is read by no layout."""
    model = tiny(architecture)
    head = torch.nn.Linear(32, 1)
    snapshots = Snapshots(model, reference=Frozen())
    with torch.no_grad():
        reference = [plain(model, rows(), i) for i in range(len(ROWS))]
        moved(model)
        policy = [plain(model, rows(), i) for i in range(len(ROWS))]
        states = [backbone(model)(input_ids=torch.tensor([[*p, *r]]), output_hidden_states=True)[0][0] for p, r in ROWS]
    for layout in LAYOUTS:
        for side, budget, garbage in (("right", 4096, 0), ("left", 12, 10**9), ("left", 1, -5)):
            world = TextWorld(model, layout=layout, max_tokens=budget, value_heads={"reward": head})
            of = rows(side, garbage)
            with torch.no_grad():
                steps = world.rescore(snapshots, samples(of), ["policy", "reference"], STATS)
                for i in range(len(ROWS)):
                    at, p, q = labels(of, i)[:, None], policy[i], reference[i]
                    chosen = of.response[i][of.attention[i]]
                    after = states[i][chosen].clone()
                    values = head(after)[:, 0]
                    if samples(of).terminated[i]:  # type: ignore[index]
                        values[-1] = 0
                    expected = {
                        "policy": p.gather(1, at)[:, 0],
                        "reference": q.gather(1, at)[:, 0],
                        "entropy": -(p.exp() * p).sum(1),
                        "collision": (2 * p).logsumexp(1),
                        "kl:reference": (p.exp() * (p - q)).sum(1),
                        "value:reward": head(states[i][:-1][chosen[1:]])[:, 0],
                        "bootstrap:reward": values,
                    }
                    for name, want in expected.items():
                        found = {**steps.logp, **steps.stats}[name]
                        torch.testing.assert_close(found[i][of.response[i]], want, atol=2e-5, rtol=1e-5)
                        assert found[i][~of.response[i]].abs().sum() == 0


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "untied", "lora", "gpt2-dropout"])
def test_gradients_are_the_same_in_every_layout(architecture: str) -> None:
    """Through log-probs and statistics, tied and untied heads, adapters, value heads, and groups parted by the
    budget."""
    model = architecture_of(architecture)
    head = torch.nn.Linear(32, 1)
    rule = AdapterOff() if architecture == "lora" else Frozen()
    snapshots = Snapshots(model, reference=rule)
    moved(model)
    of, found = rows(), {}
    trained = [p for p in model.parameters() if p.requires_grad] + list(head.parameters())
    for layout in LAYOUTS:
        for budget in (4096, 24):
            world = TextWorld(model, layout=layout, max_tokens=budget, value_heads={"reward": head})
            steps = world.rescore(snapshots, samples(of), ["policy", "reference"], STATS)
            assert not steps.logp["reference"].requires_grad
            loss = weighed({"policy": steps.logp["policy"], **steps.stats}, of)
            found[layout, budget] = torch.autograd.grad(loss, trained)
    truth = found["padded", 4096]
    scale = max(float(x.abs().max()) for x in truth)
    assert scale > 1
    for at, gradients in found.items():
        for a, b in zip(gradients, truth, strict=True):
            torch.testing.assert_close(a / scale, b / scale, atol=1e-5, rtol=0, msg=lambda m, at=at: f"{at}: {m}")


def architecture_of(name: str) -> Any:
    """One of tiny's models, or one with something more."""
    if name == "untied":
        config = tiny("qwen2").config
        config.tie_word_embeddings = False
        return type(tiny("qwen2"))(config).eval()
    if name == "gpt2-dropout":
        return tiny("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train()
    if name == "lora":
        peft = pytest.importorskip("peft")
        config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "up_proj"], lora_dropout=0.5)
        return peft.get_peft_model(tiny("llama"), config).train()
    return tiny(name)


def test_the_loss_does_not_see_log_probs_of_prompts() -> None:
    """OpenRLHF #294: the rejected response's prompt was part of the loss. A prompt's token is nobody's label here: its
    row of the head gets the gradient of a word that was not chosen, whatever the layout."""
    model = tiny("llama")
    of = token_rows([PROMPT, PROMPT], [[20, 21], [22]])
    for layout in LAYOUTS:
        steps = TextWorld(model, layout=layout).rescore(Snapshots(model), Samples(of, [0, 1]), ["policy"])
        assert steps.logp["policy"][:, :4].abs().sum() == 0 and steps.mask.sum(1).tolist() == [2, 1]
        assert not steps.mask[:, :4].any()
        (grad,) = torch.autograd.grad(-steps.logprob("policy").sum(), model.lm_head.weight)
        with torch.no_grad():
            hidden = [model.model(input_ids=torch.tensor([[*PROMPT, *r]]))[0][0, 3:-1] for r in ([20, 21], [22])]
            p = [torch.softmax(model.lm_head(h), -1) for h in hidden]
            never = sum((x[:, 6, None] * h).sum(0) for x, h in zip(p, hidden, strict=True))
        torch.testing.assert_close(grad[6], never, atol=1e-5, rtol=1e-4)


def tokens(layout: str, budget: int) -> list[int]:
    """How many tokens, padding included, every pass computes."""
    head = find_head(tiny("llama"))
    return [p.ids.numel() for p in pieces(rows(), head, budget, layout)]


def test_what_each_layout_computes() -> None:
    """Padded: one block. Packed: the real tokens and no more. Shared: each prompt once for its rows, and again where
    the budget parts them."""
    real = sum(len(p) + len(r) for p, r in ROWS)
    width = max(len(p) + len(r) for p, r in ROWS)
    assert tokens("padded", 1) == [len(ROWS) * width]
    assert sum(tokens("packed", 4096)) == real
    assert sum(tokens("shared", 4096)) == real - 7 * len(PROMPT) - len(OTHER)
    assert real < sum(tokens("buckets", 16)) < len(ROWS) * width
    parted = tokens("shared", 16)
    assert max(parted) <= 16 and real - 7 * len(PROMPT) - len(OTHER) < sum(parted) < real
    head = find_head(tiny("gemma2"))  # its window is shorter than these rows
    assert all(isinstance(p, Chunk) for p in pieces(rows(), head, 64, "shared"))


@pytest.mark.parametrize("name", ["Gemma", "GPTNeoX", "Mistral", "Olmo2", "Phi3", "Qwen3", "Starcoder2", "Gemma2"])
def test_other_backbones_are_packed_by_a_mask_up_to_their_window(name: str) -> None:
    """Longer rows, whose window would hide tokens, are left to the model itself."""
    import transformers as t

    torch.manual_seed(0)
    window = {"sliding_window": 12} if name in ("Gemma2", "Mistral", "Phi3", "Starcoder2") else {}
    size = {"head_dim": 8} if name in ("Gemma", "Gemma2", "Qwen3") else {}
    config = getattr(t, f"{name}Config")(**COMMON, **window, **size)
    model = getattr(t, f"{name}ForCausalLM")(config).eval()
    head = find_head(model)
    assert not head.packs and head.masks == (12 if window else masked.MOST)
    short = rows().take(torch.tensor([0, 1, 2, 8, 9, 11]))
    assert all(isinstance(p, Pack) for p in pieces(short, head, 64))
    assert isinstance(next(pieces(rows(), head, 64)), Chunk if window else Pack)
    for of in (short, rows()):
        given = Samples(of, [0] * len(of))
        with torch.no_grad():
            found = [
                TextWorld(model, layout=k).rescore(Snapshots(model), given, stats=["entropy"])
                for k in ("padded", "shared", "packed")
            ]
        for other in found[1:]:
            torch.testing.assert_close(other.logp["policy"], found[0].logp["policy"], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(other.stats["entropy"], found[0].stats["entropy"], atol=1e-5, rtol=1e-5)


def test_a_mask_shows_each_token_its_own_row_alone() -> None:
    """The masks of a pack against their definition, token by token; padding sees itself."""
    of = rows()
    for pack in packs(of, 64):
        found = {}
        for trees in masked._alike(pack.segments):
            at, seen = masked._block(trees, of.ids.device)
            for g, w in (at >= 0).nonzero().tolist():
                found[int(at[g, w])] = at[g][seen[g, 0, w]].tolist()
            assert all(seen[g, 0, w].nonzero().tolist() == [[w]] for g, w in (at < 0).nonzero().tolist())
        assert sorted(found) == list(range(len(pack.ids)))
        for own, row, read in zip(pack.own.tolist(), pack.row.tolist(), pack.read.tolist(), strict=True):
            whole = of.ids[row][of.attention[row]].tolist()
            at = int(pack.position[own])
            assert pack.ids[found[own]].tolist() == whole[: at + 1]
            assert pack.ids[found[read]].tolist() == whole[:at]


def test_eager_attention_and_flash_s_lack_of_masks() -> None:
    eager = tiny("gpt2")
    eager.set_attn_implementation("eager")
    assert find_head(eager).masks == masked.MOST
    eager.config._attn_implementation = "flash_attention_2"
    assert masked.reach(eager.transformer) == 0


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_half_types_are_packed_too_and_stay_within_their_rounding(architecture: str) -> None:
    model = tiny(architecture)
    with torch.no_grad():
        truth = torch.cat([plain(model, rows(), i).gather(1, labels(rows(), i)[:, None])[:, 0] for i in range(12)])
        model = model.to(torch.bfloat16)
        head = find_head(model)
        assert head.packs == (architecture == "llama") and bool(head.masks) == (architecture == "gpt2")
        off = {}
        for layout in LAYOUTS:
            steps = TextWorld(model, layout=layout).rescore(Snapshots(model), samples(rows()), ["policy"])
            off[layout] = (steps.logp["policy"][rows().response] - truth).abs()
    for layout, far in off.items():
        assert far.mean() < 1.5 * off["padded"].mean() and far.max() < 2 * off["padded"].max(), layout


@pytest.mark.parametrize("fault", ["positions", "mask"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_backbone_that_packs_would_misread_is_read_by_itself(architecture: str, fault: str) -> None:
    """The probe finds a model that counts every second position, and one that sees more than a mask shows."""
    model = tiny(architecture)
    body = backbone(model)
    forward = body.forward

    def wrong(input_ids: Tensor, *more: Any, **given: Any) -> Any:
        if fault == "mask":
            given.pop("attention_mask", None)
        elif given.get("position_ids") is None:
            given["position_ids"] = 2 * torch.arange(input_ids.shape[1])[None]
        return forward(input_ids, *more, **given)

    body.forward = wrong
    head = find_head(model)
    assert head.linear and not head.masks
    assert head.packs == (architecture == "llama" and fault == "mask")  # the forest makes its own


def test_layouts_are_named() -> None:
    with pytest.raises(GuerdonError, match="one of shared, packed, buckets, padded, but 'dense' came"):
        TextWorld(tiny("llama"), layout="dense")
