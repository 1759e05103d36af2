"""Loading real architectures from folders, and one clear sentence where something is wrong."""

import json
from pathlib import Path

import pytest
import torch

from guerdon.batch import Seed
from guerdon.errors import GuerdonError
from guerdon.worlds import AdapterOff, Sampling, Snapshots
from guerdon.worlds.text import Lora, TextWorld, load_policy
from tests.worlds.tiny import ARCHITECTURES, saved, tiny, word_tokenizer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_load_sample_rescore(architecture: str, tmp_path: Path) -> None:
    model, tokenizer = load_policy(saved(tmp_path, architecture))
    s, world = Snapshots(model), TextWorld(model, tokenizer)
    got = world.sample(s, ["w5 w6", "w7"], 2, Sampling(limit=6), Seed(0))
    steps = world.rescore(s, got, ["policy", "sampler"])
    torch.testing.assert_close(steps.logprob("policy").detach(), steps.logprob("sampler"), atol=2e-5, rtol=1e-4)


def test_lora_and_bfloat16(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    path = saved(tmp_path, "llama")
    model, tokenizer = load_policy(path, dtype="bfloat16", lora=4)
    assert {p.dtype for n, p in model.named_parameters() if "lora" not in n} == {torch.bfloat16}
    assert all(("lora" in n) == p.requires_grad for n, p in model.named_parameters())
    s, world = Snapshots(model, reference=AdapterOff()), TextWorld(model, tokenizer)
    got = world.sample(s, ["w5"], 3, Sampling(limit=6), Seed(0))
    steps = world.rescore(s, got, ["policy", "reference"])
    assert steps.logp["policy"].dtype == torch.float32
    assert steps.log_ratio().abs().max() == 0  # fresh adapters change nothing
    with pytest.raises(GuerdonError, match="LoRA cannot be added to LlamaForCausalLM"):
        load_policy(path, lora=Lora(targets=("nothing",)))


def test_errors_are_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bare = tmp_path / "bare"
    tiny("llama").save_pretrained(bare)
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "config.json").write_text(json.dumps({"model_type": "no-such-thing"}))
    small = tmp_path / "small"
    tiny("llama", vocab_size=10).save_pretrained(small)
    word_tokenizer().save_pretrained(small)
    lost = saved(tmp_path, "gpt2")
    (lost / "model.safetensors").unlink()
    good = saved(tmp_path, "llama")
    for given, message in (
        ({"path": tmp_path / "nowhere"}, "There is no folder"),
        ({"path": empty}, "is not a model: it holds no config.json"),
        ({"path": odd}, "is not a model that transformers can read"),
        ({"path": bare}, "holds no tokenizer"),
        ({"path": small}, "48 tokens, but the model embeds only 10"),
        ({"path": lost}, "weights of .* cannot be loaded"),
        ({"path": "nobody/nothing-here"}, "is not a model that transformers can read"),
        ({"path": good, "dtype": "int8"}, "dtype must be float32"),
        ({"path": good, "device": "toaster"}, "device 'toaster' cannot be used"),
    ):
        with pytest.raises(GuerdonError, match=message) as caught:
            load_policy(**given)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
