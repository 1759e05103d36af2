"""Turn a model in llama2.c's format into a transformers checkpoint: a small real language model for tests, no download.

``python -m tests.worlds.llama2c MODEL.bin TOKENIZER.bin OUT`` writes a folder that ``load_policy`` reads.
"""

import struct
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_model(path: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """(sizes, state dict of LlamaForCausalLM) of a file: seven int32, then float32 tensors, a head tied to the
    embedding."""
    raw = path.read_bytes()
    names = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context")
    c = dict(zip(names, struct.unpack("<7i", raw[:28]), strict=True))
    flat = torch.frombuffer(bytearray(raw[28:]), dtype=torch.float32)
    at = 0

    def take(*shape: int) -> Tensor:
        nonlocal at
        size = torch.Size(shape).numel()
        at += size
        return flat[at - size : at].reshape(shape).clone()

    d, h, n = c["dim"], c["hidden"], c["layers"]
    kv = d // c["heads"] * c["kv_heads"]
    embedding = take(c["vocab"], d)
    order = (
        ("input_layernorm", (d,)),
        ("self_attn.q_proj", (d, d)),
        ("self_attn.k_proj", (kv, d)),
        ("self_attn.v_proj", (kv, d)),
        ("self_attn.o_proj", (d, d)),
        ("post_attention_layernorm", (d,)),
        ("mlp.gate_proj", (h, d)),
        ("mlp.down_proj", (d, h)),
        ("mlp.up_proj", (h, d)),
    )
    state = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding}
    for name, shape in order:
        for layer, weight in enumerate(take(n, *shape)):
            if name.endswith(("q_proj", "k_proj")):
                weight = half_split(weight, c["heads"] if "q_proj" in name else c["kv_heads"])
            state[f"model.layers.{layer}.{name}.weight"] = weight
    state["model.norm.weight"] = take(d)
    return c, state


def half_split(weight: Tensor, heads: int) -> Tensor:
    """Rows reordered: llama2.c rotates neighbouring pairs (0, 1), (2, 3), …, transformers (0, D/2), (1, D/2 + 1), …"""
    out, inner = weight.shape
    return weight.reshape(heads, out // heads // 2, 2, inner).transpose(1, 2).reshape(out, inner)


def read_tokenizer(path: Path) -> Any:
    """The pieces and scores of a tokenizer file as a fast tokenizer: byte-pair merges by score, bytes for what is
    unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    raw, pieces, at = path.read_bytes(), [], 4
    while at < len(raw):
        score, length = struct.unpack("<fi", raw[at : at + 8])
        pieces.append((raw[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    pieces[0:3] = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    merges = [
        (piece[:k], piece[k:])
        for piece, _ in sorted(pieces[259:], key=lambda x: -x[1])
        for k in range(1, len(piece))
        if piece[:k] in vocab and piece[k:] in vocab
    ]
    inner = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Prepend(" ")
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def convert(model: Path, tokenizer: Path, out: Path) -> Path:
    """Write the checkpoint and return its folder. The tokenizer has no pad token, like many."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c, state = read_model(model)
    config = LlamaConfig(
        vocab_size=c["vocab"],
        hidden_size=c["dim"],
        intermediate_size=c["hidden"],
        num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"],
        num_key_value_heads=c["kv_heads"],
        max_position_embeddings=c["context"],
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )
    made = LlamaForCausalLM(config)
    made.load_state_dict(state)
    made.save_pretrained(out)
    read_tokenizer(tokenizer).save_pretrained(out)
    return out


def converted_aidreams(data: Path, out: Path) -> Path:
    """The aidreams260K model of ``data/models`` (the folder GUERDON_DATA names) as a checkpoint in ``out``, made
    once."""
    if not (out / "config.json").exists():
        source = data / "models" / "aidreams260K"
        convert(source / "aidreams260K.bin", source / "tok512.bin", out)
    return out


if __name__ == "__main__":
    print(convert(*(Path(a) for a in sys.argv[1:4])))
