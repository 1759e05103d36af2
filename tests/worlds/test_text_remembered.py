"""Log-probs kept on disk: what they depend on, what they do not, and what happens to a disk."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guerdon.batch import Samples, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds import EMA, AdapterOff, Frozen, Snapshots
from guerdon.worlds.snapshots import Rule
from guerdon.worlds.text import TextWorld, remembered, token_rows
from guerdon.worlds.text.remembered import Remembered, constant, fingerprint_of, row_keys
from tests.worlds.remembering import reference, samples
from tests.worlds.tiny import tiny

ROOT = Path(__file__).resolve().parents[2]
Opened = Callable[..., "Bed"]


class Bed:
    """A world over a cache, its snapshots, and the number of its forward passes."""

    def __init__(self, folder: Path | None, model: Any = None, **rules: Rule) -> None:
        self.model = tiny("llama") if model is None else model
        self.world = TextWorld(self.model, cache=folder)
        self.snapshots = Snapshots(self.model, **(rules or {"reference": Frozen()}))
        self.world.rescore(self.snapshots, samples())
        self.passes = 0
        self.model.register_forward_hook(self._count)
        self.model.get_submodule(
            "model.norm" if model is None else "base_model.model.model.norm"
        ).register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.passes += 1

    def of(self, given: Samples | None = None, name: str = "reference") -> Tensor:
        """[N,L] of one name."""
        return self.world.rescore(self.snapshots, samples() if given is None else given, [name]).logp[name]


def test_cold_warm_and_half_warm_are_equal_and_a_hit_is_what_was_stored(tmp_path: Path) -> None:
    plain = Bed(None).of()
    cold = Bed(tmp_path)
    first = cold.of()
    assert torch.equal(first, plain) and cold.passes > 0 and not first.requires_grad
    warm = Bed(tmp_path)
    assert torch.equal(warm.of(), first) and warm.passes == 0
    left = samples("left")  # a673da577 of TRL: the padding side gave another reference
    assert torch.equal(warm.of(left)[left.payload.response], first[samples().payload.response]) and warm.passes == 0
    half = tmp_path / "half"
    some = Bed(half)
    some.of(samples().take(torch.tensor([0, 3, 4, 11])))
    before = some.passes
    torch.testing.assert_close(some.of(), plain, atol=1e-5, rtol=0)
    assert some.passes > before
    again = Bed(half)
    assert torch.equal(again.of(), some.of()) and again.passes == 0


def test_only_missing_rows_are_computed_and_equal_rows_once(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    seen: list[int] = []
    cache, rows = Remembered(tmp_path), samples().payload
    twice = rows.take(torch.tensor([0, 1, 0, 2, 1]))

    def compute(_: str, some: TokenRows) -> Tensor:
        seen.append(len(some))
        return torch.where(some.response, some.ids.float(), torch.nan)

    found = cache.logprobs(bed.snapshots, twice, ["reference"], compute)["reference"]
    assert torch.equal(found, torch.where(twice.response, twice.ids.float(), 0.0))
    whole = cache.logprobs(bed.snapshots, rows, ["reference"], compute)["reference"]
    assert torch.equal(whole, torch.where(rows.response, rows.ids.float(), 0.0))
    assert seen == [3, 9]


def test_policy_gradients_and_statistics_pass_through(tmp_path: Path) -> None:
    """Whatever is not frozen, and a snapshot that a statistic reads, is computed as without a cache."""
    stats = ["entropy", "kl:reference"]
    found = []
    for folder in (None, tmp_path, tmp_path):
        bed = Bed(folder, reference=Frozen(), other=Frozen(), ema=EMA(0.5))
        with torch.no_grad():
            bed.model.lm_head.weight.mul_(1.5)
        bed.snapshots.refresh(1)
        names = ["other", "policy", "reference", "ema"]
        steps = bed.world.rescore(bed.snapshots, samples(), names, stats)
        assert list(steps.logp) == names and list(steps.stats) == stats
        (grad,) = torch.autograd.grad(steps.log_ratio("policy", "other").sum(), bed.model.lm_head.weight)
        found.append([*steps.logp.values(), *steps.stats.values(), grad])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(b, a, atol=1e-6, rtol=1e-5)
    with sqlite3.connect(tmp_path / "logprobs.sqlite3") as base:
        assert base.execute("SELECT count(*) FROM logprobs").fetchone() == (12,)  # 'other' alone


def test_which_names_are_kept() -> None:
    model = tiny("llama")
    snapshots = Snapshots(model, reference=Frozen(), old=Frozen(), ema=EMA(0.9), sampler=Frozen())
    assert [n for n in (*snapshots.names(), "nobody") if constant(snapshots, n)] == ["reference"]
    with pytest.raises(NeedsError, match="no snapshot 'nobody'"):
        TextWorld(model).rescore(snapshots, samples(), ["nobody"])


def test_the_key_of_a_row() -> None:
    """Real ids, which were chosen, temperature (TRL #3029); neither padding nor pad id nor batch mates."""
    rows = samples().payload
    key = list(row_keys(rows))
    assert len(set(key)) == 12
    assert list(row_keys(samples("left").payload)) == key
    garbage = replace(rows, ids=torch.where(rows.attention, rows.ids, 47), logp=torch.zeros(rows.ids.shape))
    assert list(row_keys(garbage)) == key
    wide = TokenRows(*(torch.nn.functional.pad(x, (3, 2)) for x in (rows.ids, rows.attention, rows.response)))
    assert list(row_keys(wide)) == key
    assert list(row_keys(rows.take(torch.tensor([7])))) == key[7:8]
    assert set(row_keys(replace(rows, temperature=0.7))).isdisjoint(key)
    fewer = rows.response.clone()
    fewer[:, 2] = False
    assert set(row_keys(TokenRows(rows.ids, rows.attention, fewer))).isdisjoint(key)
    one = token_rows([[1, 5]], [[6]]), token_rows([[1]], [[5, 6]])
    assert list(row_keys(one[0])) != list(row_keys(one[1]))


def test_temperature_and_choice_are_read_anew(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.of()
    given = samples()
    for changed in (
        replace(given.payload, temperature=0.5),
        replace(given.payload, response=given.payload.response & (torch.arange(given.payload.width) != 3)),
    ):
        before = bed.passes
        found = bed.of(replace(given, payload=changed))
        assert bed.passes > before
        assert torch.equal(found, Bed(None).of(replace(given, payload=changed)))


def test_a_fingerprint_is_the_model_s_content(tmp_path: Path) -> None:
    base = fingerprint_of(tiny("llama"))
    assert fingerprint_of(tiny("llama")) == base and len(base) == 32
    model = tiny("llama")
    model.save_pretrained(tmp_path)
    assert fingerprint_of(type(model).from_pretrained(tmp_path)) == base  # wherever it lies
    others = [tiny("llama", seed=1), tiny("llama", rms_norm_eps=1e-5), tiny("llama").to(torch.bfloat16), tiny("qwen2")]
    weight, buffer = tiny("llama"), tiny("llama")
    with torch.no_grad():
        weight.model.norm.weight[3] += 1e-6
        buffer.model.rotary_emb.inv_freq[0] *= 2
    found = [base, *map(fingerprint_of, [*others, weight, buffer])]
    assert len(set(found)) == len(found)


def test_fingerprints_of_adapters() -> None:
    """Adapters count with their weights, settings and scales, and not at all where they are off: then it is the base
    model's own."""
    peft = pytest.importorskip("peft")

    def made(**changes: Any) -> Any:
        torch.manual_seed(3)
        settings = {"r": 2, "target_modules": ["q_proj", "up_proj"], "modules_to_save": ["lm_head"], **changes}
        return peft.get_peft_model(tiny("llama"), peft.LoraConfig(**settings))

    base, model = fingerprint_of(tiny("llama")), made()
    on = fingerprint_of(model)
    assert fingerprint_of(made()) == on != base
    assert len({on, base, fingerprint_of(made(lora_alpha=3)), fingerprint_of(made(r=3))}) == 4
    for m in (model, made(r=3)):
        assert fingerprint_of(m, adapters_off=True) == base
    with torch.no_grad():
        model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight += 1
    assert fingerprint_of(model) != on and fingerprint_of(model, adapters_off=True) == base
    scaled = made()
    scaled.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] *= 2
    assert fingerprint_of(scaled) != on


def test_the_reference_of_adapters_is_kept_while_they_learn(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(tiny("llama"), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    bed = Bed(tmp_path, model, reference=AdapterOff())
    first = bed.of()
    before = bed.passes
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.3
    assert torch.equal(bed.of(), first) and bed.passes == before
    assert not torch.equal(bed.of(name="policy"), first)
    assert Bed(tmp_path).of().equal(first)  # the plain model is the same reference
    assert all(p.requires_grad == ("lora" in n) for n, p in model.named_parameters())


def test_weights_are_hashed_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the snapshot's version does not tell."""
    hashed = []
    monkeypatch.setattr(remembered, "fingerprint_of", lambda m, off: hashed.append(1) or fingerprint_of(m, off))
    bed = Bed(tmp_path)
    first = bed.of()
    bed.snapshots.refresh(1)
    bed.of()
    assert len(hashed) == 1
    with torch.no_grad():
        bed.model.lm_head.weight *= 2
    assert torch.equal(bed.of(), first) and len(hashed) == 1  # the reference is a copy
    for change in (
        lambda: bed.snapshots.capture("reference"),
        lambda: bed.snapshots.parameters("reference")["lm_head.weight"].mul_(2),
        lambda: bed.snapshots.load_state_dict(bed.snapshots.state_dict()),  # equal bits: hashed, and found
        lambda: bed.model.model.rotary_emb.inv_freq.mul_(2),
        lambda: setattr(bed.model.config, "rms_norm_eps", 1e-3),
    ):
        count = len(hashed)
        with torch.no_grad():
            change()
        found = bed.of()
        assert len(hashed) == count + 1
        fresh = bed.world.rescore(bed.snapshots, samples(), ["reference"], ["kl:reference"]).logp["reference"]
        torch.testing.assert_close(found, fresh, atol=1e-6, rtol=0)
    assert not torch.equal(found, first)


def test_rows_without_choice_and_no_rows(tmp_path: Path) -> None:
    for _ in range(2):
        bed = Bed(tmp_path)
        given = Samples(token_rows([[1, 5], [1]], [[], [6]]), [0, 1])
        assert bed.of(given)[0].abs().sum() == 0 and bed.of(given)[1, 1] < 0
        assert bed.of(Samples(token_rows([], []), [])).shape == (0, 0)


def damage(path: Path, how: str) -> None:
    """What a disk may do to a file."""
    raw = bytearray(path.read_bytes())
    if how == "no database":
        raw = bytearray(b"something else " * 400)
    elif how == "cut":
        raw = raw[: len(raw) // 2]
    elif how == "garbled":
        raw[100:] = os.urandom(len(raw) - 100)
    path.write_bytes(raw)


@pytest.mark.parametrize("how", ["no database", "cut", "garbled"])
def test_a_damaged_database_is_told_and_set_aside(tmp_path: Path, how: str) -> None:
    first = Bed(tmp_path).of()
    damage(tmp_path / "logprobs.sqlite3", how)
    bed = Bed(tmp_path)
    with pytest.warns(UserWarning, match="is damaged .* set aside as logprobs.damaged and begins anew") as told:
        assert torch.equal(bed.of(), first)
    assert len(told) == 1 and bed.passes > 0
    before = bed.passes
    assert torch.equal(bed.of(), first) and bed.passes == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["logprobs.damaged", "logprobs.sqlite3"]


def test_a_garbled_value_is_computed_again(tmp_path: Path) -> None:
    """One bit of a value, a value of another row, and a value of no length: none is believed."""
    first = Bed(tmp_path).of()
    with sqlite3.connect(tmp_path / "logprobs.sqlite3") as base:
        held = base.execute("SELECT key, value FROM logprobs").fetchall()
        flipped = bytearray(held[0][1])
        flipped[6] ^= 1
        for (key, _), value in zip(held, (bytes(flipped), held[2][1], b"", None), strict=False):
            base.execute("UPDATE logprobs SET value = ? WHERE key = ?", (value, key))
    bed = Bed(tmp_path)
    torch.testing.assert_close(bed.of(), first, atol=1e-5, rtol=0)
    assert bed.passes > 0
    before = bed.passes
    bed.of()
    assert bed.passes == before


def test_a_folder_that_cannot_be_used_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(GuerdonError, match=r"needs a folder, but .*file is a file"):
        TextWorld(tiny("llama"), cache=tmp_path / "file")
    (tmp_path / "cache" / "logprobs.sqlite3").mkdir(parents=True)
    bed = Bed(tmp_path / "cache")
    with pytest.warns(UserWarning, match="cannot be used") as told:
        first = bed.of()
    assert torch.equal(first, Bed(None).of()) and torch.equal(bed.of(), first)
    assert len(told) == 1


def test_a_database_that_another_process_holds_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_PATIENCE", 0.05)
    first = Bed(tmp_path).of()
    other = sqlite3.connect(tmp_path / "logprobs.sqlite3")
    other.execute("BEGIN EXCLUSIVE")
    bed = Bed(tmp_path)
    with pytest.warns(UserWarning, match="locked"):
        assert torch.equal(bed.of(), first)
    other.close()


def test_a_kill_while_writing_loses_nothing_written(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.worlds.remembering", str(tmp_path), "forever"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for i, said in enumerate(writer.stdout):
            done = int(said)
            if i == 20:
                os.kill(writer.pid, signal.SIGKILL)
                break
    store = Remembered(tmp_path)._store
    keys = [f"{i}/{j}".encode() for i in range(done + 1) for j in range(50)]
    held = store.read(keys, dict.fromkeys(keys, 2000))
    assert len(held) == len(keys) and all((held[k] == int(k.split(b"/")[0])).all() for k in keys)
    store.write({b"more": np.ones(3, np.float32)})
    assert store.read([b"more"], {b"more": 3})[b"more"].tolist() == [1, 1, 1]
    with sqlite3.connect(store.path) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_two_ranks_write_one_cache_at_once(tmp_path: Path) -> None:
    """Under the cache in memory too; the second world of each rank reads everything from disk."""
    plain, alone = reference(None)
    assert alone > 0
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.worlds.remembering", str(tmp_path / "cache"), str(tmp_path / f"{r}.pt")],
            cwd=ROOT,
            env={**os.environ, **there, "RANK": str(r)},
            stderr=subprocess.PIPE,
        )
        for r in range(2)
    ]
    errors = [p.communicate(timeout=100)[1].decode() for p in ranks]
    assert [p.returncode for p in ranks] == [0, 0], "\n".join(errors)
    for r in range(2):
        (cold, passes), (warm, none) = torch.load(tmp_path / f"{r}.pt")
        assert passes > 0 and none == 0 and torch.equal(cold, warm)
        torch.testing.assert_close(cold, plain, atol=1e-5, rtol=0)
    found, none = reference(str(tmp_path / "cache"))
    assert none == 0 and torch.equal(found, cold)


def test_align_keeps_the_reference_between_runs(tmp_path: Path) -> None:
    """The option of the verb: off by default, refused where rows are new in every round."""
    from guerdon.verbs import align
    from tests.worlds.tiny import saved

    model = saved(tmp_path, "llama")
    pairs = tmp_path / "pairs.jsonl"
    records = [{"prompt": f"w{4 + i} w5", "chosen": f"w{20 + i}", "rejected": f"w{30 + i} w7"} for i in range(6)]
    pairs.write_text("\n".join(map(json.dumps, records)))
    cache = tmp_path / "cache"
    settings: dict[str, Any] = {"held_out": 0.0, "samples": 0, "batch": 3, "sampling": {"limit": 4}}
    found = []
    for folder in (None, cache, cache):
        done = align(pairs, model, "dpo", reference_cache=None if folder is None else str(folder), **settings)
        found.append([m["loss"] for m in done.history])
        assert cache.exists() == (folder is not None)
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-6)
    with sqlite3.connect(cache / "logprobs.sqlite3") as base:
        assert base.execute("SELECT count(*) FROM logprobs").fetchone()[0] >= 12
    shutil.rmtree(cache)
    with pytest.raises(GuerdonError, match=r"reference_cache .* grpo"):
        align(pairs, model, "grpo", reward="nowhere", reference_cache=str(cache), **settings)
    assert not cache.exists()
