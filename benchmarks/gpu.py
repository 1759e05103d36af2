"""Tokens a second and model FLOP utilisation of DPO, reward modelling and GRPO on a GPU: bfloat16, torch.compile, Llama
shapes of 1, 3 and 8 billion parameters with random weights, through guerdon's own world, re-scoring and training.

    python -m benchmarks.gpu --size 1b            the result goes to benchmarks/results/gpu-<device>.json
    python -m benchmarks.gpu --device cpu --size tiny

Utilisation is model FLOPs / seconds / peak, the peak being one large bfloat16 matrix product on the same device. A
forward pass over a row of s tokens counts 2·N·s + 2·L·d·s² FLOPs (N: parameters of linear layers, the output head
included, without it for reward models; L layers of attention width d; causal, so half of s²); an update counts three
forward passes (6·N·tokens in all), a reference or a sampled token one. A prompt shared by several rows counts once, as
it need be computed once; tokens a second count the tokens of all rows.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import arms, grpo_task, measure
from benchmarks.gpu_model import SIZES, Work, compiled, forward_flops, model_of, parameters

WARM = 2
"""Updates that are not counted: compilation, and the allocator's first rounds."""


def _ids(count: int, length: int, size: str, seed: int) -> list[list[int]]:
    import torch

    made = torch.Generator().manual_seed(seed)
    return torch.randint(3, SIZES[size]["vocabulary"], (count, length), generator=made).tolist()


def dpo(model: Any, size: str, work: Work, steps: int, micro: int, clock: "Clock") -> dict[str, Any]:
    """``offline('dpo')`` on recorded pairs, the reference read in the same pass over the data."""
    import torch

    from guerdon.batch import Pairs
    from guerdon.training import Micro, Optim, Recorded, run
    from guerdon.training.presets import offline
    from guerdon.worlds import Frozen, Snapshots
    from guerdon.worlds.text import TextWorld

    count = work.rows * (steps + WARM)
    world = TextWorld(model)
    prompts = [p for p in _ids(count, work.prompt, size, 0) for _ in range(2)]
    samples = world.recorded(prompts, _ids(2 * count, work.response, size, 1))
    first = torch.arange(0, 2 * count, 2)
    source = Recorded(samples, work.rows, Pairs(first, first + 1), seed=None)
    recipe = offline(
        "dpo", world, Snapshots(model, reference=Frozen()), source, optim=Optim(1e-6), micro=Micro(rows=micro)
    )
    run(recipe, on_metrics=lambda _: clock.lap())
    return {"flops": 4 * forward_flops(parameters(model), size, work), **_read(world, model)}


def reward_model(model: Any, size: str, work: Work, steps: int, micro: int, clock: "Clock") -> dict[str, Any]:
    """``fit_scalar_model`` on pairs of texts, Bradley–Terry. micro does not apply: it takes a batch at once."""
    from guerdon.batch import Preference
    from guerdon.rewards.models import ScalarRewardModel
    from guerdon.training.reward_models import fit_scalar_model

    words = grpo_task.made_words(SIZES[size]["vocabulary"])
    tokenizer = grpo_task.made_tokenizer(SIZES[size]["vocabulary"])
    count = work.rows * (steps + WARM)

    def text(ids: list[int]) -> str:
        return " ".join(words[i - 3] for i in ids)

    sides = [text(ids) for ids in _ids(2 * count, work.response, size, 1)]
    prompts = [text(ids) for ids in _ids(count, work.prompt, size, 0)]
    records = [Preference.pair(p, sides[2 * i], sides[2 * i + 1]) for i, p in enumerate(prompts)]
    scorer = ScalarRewardModel(model.model, tokenizer, rendering="raw")
    fit_scalar_model(records, scorer, epochs=1, lr=1e-6, pairs_at_once=work.rows, progress=lambda *_: clock.lap())
    return {"flops": 3 * forward_flops(parameters(model, head=False), size, work)}


def grpo(model: Any, size: str, work: Work, steps: int, micro: int, clock: "Clock") -> dict[str, Any]:
    """``online('grpo')`` with a reward that costs nothing: sampling, the reference, one update a round."""
    from guerdon.batch import Samples
    from guerdon.rewards import reward
    from guerdon.training import Micro, Optim, Prompts, run
    from guerdon.training.presets import online
    from guerdon.worlds import Frozen, Sampling, Snapshots
    from guerdon.worlds.text import TextWorld

    @reward
    def odd(samples: Samples) -> Any:
        return ((samples.payload.ids % 2) * samples.payload.response).float().mean(1)

    world = TextWorld(model)
    recipe = online(
        "grpo",
        world,
        Snapshots(model, reference=Frozen()),
        Prompts(_ids(work.rows * (steps + WARM), work.prompt, size, 0), work.rows, seed=None),
        odd,
        rounds=steps + WARM,
        per_start=work.each,
        sampling=Sampling(limit=work.response, minimum=work.response),
        optim=Optim(1e-6),
        micro=Micro(rows=micro),
    )
    sample, spent = world.sample, []

    def sampled(*args: Any, **given: Any) -> Any:
        began = clock.now()
        out = sample(*args, **given)
        spent.append(clock.now() - began)
        return out

    world.sample = sampled  # type: ignore[method-assign]
    run(recipe, on_metrics=lambda _: clock.lap())
    seconds = sum(spent[WARM:]) / max(1, len(spent[WARM:]))
    sampled_tokens = work.rows * work.each * work.response
    flops = 5 * forward_flops(parameters(model), size, work)
    told = {"sampling_seconds": seconds, "sampled_tokens_per_second": sampled_tokens / seconds}
    return {"flops": flops, **told, **_read(world, model)}


def _read(world: Any, model: Any) -> dict[str, Any]:
    """Which of guerdon's ways of reading a model were taken."""
    head = world._head(model)
    return {name: getattr(head, name) for name in ("linear", "fast", "packs") if hasattr(head, name)}


class Clock:
    """Seconds of every update, the device waited for."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.laps: list[float] = []
        self.since = self.now()

    def now(self) -> float:
        """Seconds, once the device has done all it was given."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self) -> None:
        """End an update."""
        now = self.now()
        self.laps.append(now - self.since)
        self.since = now


METHODS: Mapping[str, tuple[Callable[..., dict[str, Any]], Work]] = {
    "dpo": (dpo, Work(rows=16, each=2, prompt=256, response=256)),
    "reward_model": (reward_model, Work(rows=16, each=2, prompt=256, response=256)),
    "grpo": (grpo, Work(rows=8, each=8, prompt=256, response=256)),
}
SMALL = Work(rows=2, each=2, prompt=8, response=8)


def measured(method: str, size: str, device: str, steps: int, micro: int, peak: float, compile: bool) -> dict[str, Any]:
    """One method's tokens a second, utilisation, seconds an update and peak memory."""
    import torch

    call, work = METHODS[method]
    work = SMALL if size == "tiny" else work
    model = model_of(size, device)
    if compile:
        compiled(model.model)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(device)
    told = call(model, size, work, steps, micro, clock)
    laps = sorted(clock.laps[WARM:])
    seconds = laps[len(laps) // 2]
    return {
        "seconds": seconds,
        "tokens_per_second": work.tokens / seconds,
        "utilisation": told["flops"] / seconds / peak,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
        "work": vars(work),
        **told,
    }


def peak_of(device: str) -> float:
    """FLOP/s of a large bfloat16 matrix product on the device."""
    import torch

    size, clock = (8192 if device == "cuda" else 512), Clock(device)
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    least = float("inf")
    for _ in range(6):
        began = clock.now()
        for _ in range(4):
            a @ a
        least = min(least, (clock.now() - began) / 4)
    return 2 * size**3 / least


def main(argv: list[str] | None = None) -> int:
    """Measure and tell; 0 also where there is no GPU, with a sentence that says so."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=8, help="updates that are counted")
    parser.add_argument("--micro", type=int, default=8, help="rows of a forward pass with gradient")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--no-compile", action="store_true")
    given = parser.parse_args(argv)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no GPU here, so nothing was measured; --device cpu --size tiny tries the script itself.")
        return 0
    on_gpu = given.device == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else measure.machine()["cpu"]
    peak = peak_of(given.device)
    print(f"{name}: {peak / 1e12:.3g} TFLOP/s in a bfloat16 matrix product", flush=True)
    result = arms.load(_stem(name)) or {} if on_gpu else {}
    for method in given.methods:
        compile = on_gpu and not given.no_compile
        found = measured(method, given.size, given.device, given.steps, given.micro, peak, compile)
        about = {"device": name, "torch": torch.__version__, "peak_flops": peak, "compile": compile}
        result[f"{given.size}/{method}"] = {**about, "micro": given.micro, **found}
        print(
            f"{given.size} {method}: {found['tokens_per_second']:,.0f} tokens a second, {found['utilisation']:.1%} of "
            f"the peak, {found['seconds']:.3g} s an update",
            flush=True,
        )
        if on_gpu:
            arms.save(_stem(name), result)
            torch.cuda.empty_cache()
    if not on_gpu:
        print(json.dumps(result))
    return 0


def _stem(name: str) -> str:
    return "gpu-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
