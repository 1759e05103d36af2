"""The comparison protocol: the claim first, one search for both arms, paired seeds, an interval, a verdict.

An experiment is data and one function, ``run_one(arm, config, seed, smoke) -> {metric: number}``, named as
'module:function' so that it runs in a fresh process with one torch thread. Finished runs are kept as they come, so an
interrupted experiment continues where it stopped.
"""

import importlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.lab.results import Metrics, Result, Run, load, save, sources_hash, versions
from guerdon.lab.stats import Verdict, check_verdict, effect_verdict, parity_verdict

KINDS = ("effect", "parity", "identity", "metric", "survey")
CORE = ("guerdon.objectives", "guerdon.advantages", "guerdon.shaping")
SMOKE_SEEDS = 2
SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Claim:
    """What is claimed, before any run.

    kind: 'effect' (method better than baseline by at least ``smallest_effect``), 'parity' (equal within ± it), or
    'identity', 'metric', 'survey' (the method's own ``check`` passes in every seed: ``metric`` is 1 or 0). direction:
    'higher' or 'lower' is better. metric: a key of what ``run_one`` returns.
    """

    kind: str
    metric: str
    direction: str = "higher"
    baseline: str = "baseline"
    smallest_effect: float = 0.0
    statement: str = ""
    check: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GuerdonError(f"Claim.kind must be one of {KINDS}, but {self.kind!r} came.")
        if self.direction not in ("higher", "lower"):
            raise GuerdonError(f"Claim.direction must be 'higher' or 'lower', but {self.direction!r} came.")
        if self.compares and not self.smallest_effect > 0:
            raise GuerdonError(f"A claim of {self.kind} needs smallest_effect > 0, but {self.smallest_effect} came.")
        if not self.compares and not self.check:
            raise GuerdonError(f"A claim of kind {self.kind!r} must say in ``check`` what passes or fails.")

    @property
    def compares(self) -> bool:
        """Whether two arms are compared."""
        return self.kind in ("effect", "parity")


@dataclass(frozen=True)
class Experiment:
    """Both arms, one grid, disjoint seeds.

    run: 'module:function'. method: name of the claimed arm; the other is ``claim.baseline``. grid: setting -> values,
    searched whole on ``tuning_seeds`` for *both* arms; empty for no search. settings: what the published method fixes,
    per arm, added to every configuration. tuned_on: metric that picks the configuration (default: the claim's), in the
    claim's direction. sources: modules or packages besides the run's own whose change makes the result stale.
    """

    slug: str
    claim: Claim
    run: str
    method: str = "method"
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuning_seeds: Sequence[int] = (1000, 1001)
    reporting_seeds: Sequence[int] = tuple(range(8))
    tuned_on: str = ""
    sources: Sequence[str] = CORE
    budget: str = ""

    def __post_init__(self) -> None:
        if set(self.tuning_seeds) & set(self.reporting_seeds):
            raise GuerdonError(f"{self.slug}: tuning and reporting seeds must be disjoint.")
        if len(set(self.reporting_seeds)) < 8:
            raise GuerdonError(f"{self.slug}: at least 8 reporting seeds are needed; {len(self.reporting_seeds)} came.")
        if self.claim.compares and self.method == self.claim.baseline:
            raise GuerdonError(f"{self.slug}: method and baseline are both called {self.method!r}.")
        if ":" not in self.run:
            raise GuerdonError(f"{self.slug}: run must read 'module:function', but {self.run!r} came.")

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm names, the method first."""
        return (self.method, self.claim.baseline) if self.claim.compares else (self.method,)

    def configurations(self, arm: str) -> list[dict[str, Any]]:
        """The grid as a list of settings for one arm, in order; one where the grid is empty."""
        points = itertools.product(*self.grid.values())
        own = dict(self.settings.get(arm, {}))
        return [{**dict(zip(self.grid, point, strict=True)), **own} for point in points]

    def hash(self) -> str:
        """Hash of the sources as they stand now."""
        return sources_hash((self.run.partition(":")[0], *self.sources))

    def describe(self) -> dict[str, Any]:
        """As plain data, for the stored result."""
        plain = asdict(self)
        plain["sources"] = list(self.sources)
        plain["grid"] = {k: list(v) for k, v in self.grid.items()}
        plain["tuning_seeds"], plain["reporting_seeds"] = list(self.tuning_seeds), list(self.reporting_seeds)
        return plain

    @staticmethod
    def from_description(plain: Mapping[str, Any]) -> "Experiment":
        """The experiment a stored result describes."""
        return Experiment(**{**plain, "claim": Claim(**plain["claim"])})


def _function(path: str) -> Callable[[str, Mapping[str, Any], int, bool], Metrics]:
    module, _, name = path.partition(":")
    try:
        found: Callable[[str, Mapping[str, Any], int, bool], Metrics] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise GuerdonError(f"The experiment's run {path!r} cannot be imported ({error}).") from error
    return found


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _do(job: tuple[str, Run, bool]) -> Run:
    path, run, smoke = job
    begin = time.perf_counter()
    measured = _function(path)(run.arm, run.config, run.seed, smoke)
    metrics = {str(k): float(v) for k, v in measured.items()}
    return replace(run, metrics=metrics, seconds=round(time.perf_counter() - begin, 3))


def _all(jobs: Sequence[tuple[str, Run, bool]], processes: int) -> Iterator[Run]:
    """Runs as they finish; fresh single-threaded processes, or this one where ``processes`` is 0 or 1."""
    if processes <= 1 or len(jobs) < 2:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map(_do, jobs)
        finally:
            torch.set_num_threads(threads)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    # A spawned process reads this before it loads torch; a fork would inherit this process's thread pools.
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=spawn, initializer=_one_thread) as pool:
        waiting = [pool.submit(_do, job) for job in jobs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _line(slug: str, text: str, last: bool) -> None:
    if sys.stderr.isatty():
        print(f"\r{slug}: {text}\x1b[K", end="\n" if last else "", file=sys.stderr, flush=True)
    elif last:
        print(f"{slug}: {text}", file=sys.stderr, flush=True)


def _pick(experiment: Experiment, arm: str, done: Iterable[Run]) -> dict[str, Any]:
    """The configuration with the best mean over tuning seeds; the earlier in the grid on a tie. A configuration with a
    number that is not finite is out. Raises GuerdonError where every configuration is."""
    metric = experiment.tuned_on or experiment.claim.metric
    sign = 1.0 if experiment.claim.direction == "higher" else -1.0
    best: tuple[float, dict[str, Any]] | None = None
    runs = [r for r in done if r.stage == "tuning" and r.arm == arm]
    for config in experiment.configurations(arm):
        values = [sign * r.metrics[metric] for r in runs if dict(r.config) == config]
        mean = sum(values) / len(values)
        if abs(mean) < float("inf") and (best is None or mean > best[0]):
            best = (mean, config)
    if best is None:
        raise GuerdonError(f"{experiment.slug}: no configuration of {arm!r} gave a finite {metric!r} while tuning.")
    return best[1]


def _resume(path: Path, empty: Result) -> Result:
    """Runs of an interrupted attempt at the very same experiment with the very same sources, or nothing."""
    if not path.exists():
        return empty
    found = load(path)
    return found if replace(found, runs=()) == empty else empty


def run_experiment(
    experiment: Experiment,
    folder: Path = Path("results"),
    processes: int = 2,
    smoke: bool = False,
    progress: bool = True,
) -> Result:
    """Run what is missing and store ``folder/<slug>.json``; an earlier result stays until the new one is whole.

    smoke: first configuration, two seeds, ``run_one`` told to be quick; stored as ``<slug>.smoke.json``, and its
    verdict is 'smoke'. Unfinished runs are kept in ``<slug>.partial.json`` and taken up by the next call, unless the
    experiment, its sources or the versions changed meanwhile. An exception in a run is raised once what finished is
    stored.
    """
    name = f"{experiment.slug}.smoke" if smoke else experiment.slug
    final, partial = folder / f"{name}.json", folder / f"{name}.partial.json"
    result = _resume(partial, unstarted(experiment, smoke))
    searched = {arm: experiment.configurations(arm)[: 1 if smoke else None] for arm in experiment.arms}
    tuning = [
        Run("tuning", arm, config, seed, {}, 0.0)
        for arm in experiment.arms
        for config in searched[arm]
        for seed in experiment.tuning_seeds
        if len(searched[arm]) > 1
    ]
    result = _finish(experiment, result, tuning, partial, processes, progress)
    seeds = experiment.reporting_seeds[: SMOKE_SEEDS if smoke else None]
    chosen = {
        arm: searched[arm][0] if len(searched[arm]) == 1 else _pick(experiment, arm, result.runs)
        for arm in experiment.arms
    }
    reporting = [Run("reporting", arm, chosen[arm], seed, {}, 0.0) for seed in seeds for arm in experiment.arms]
    result = _finish(experiment, result, reporting, partial, processes, progress)
    result = replace(result, runs=tuple(sorted(result.runs, key=lambda r: r.key)))
    save(result, final)
    partial.unlink(missing_ok=True)
    return result


def unstarted(experiment: Experiment, smoke: bool = False) -> Result:
    """The result of an experiment before its first run: what it is, the sources' hash, the versions."""
    return Result(experiment.slug, _plain(experiment.describe()), experiment.hash(), versions(), 1, smoke, ())


def _plain(description: Mapping[str, Any]) -> dict[str, Any]:
    """As it reads back from JSON, so that a resumed description compares equal."""
    import json

    loaded: dict[str, Any] = json.loads(json.dumps(description))
    return loaded


def _finish(
    experiment: Experiment, result: Result, wanted: Sequence[Run], partial: Path, processes: int, progress: bool
) -> Result:
    have = {r.key for r in result.runs}
    missing = [r for r in wanted if r.key not in have]
    begin = saved = time.perf_counter()
    jobs = [(experiment.run, run, result.smoke) for run in missing]
    done = list(result.runs)
    try:
        for i, run in enumerate(_all(jobs, processes), 1):
            done.append(run)
            now = time.perf_counter()
            if now - saved > SAVE_SECONDS:  # where runs take milliseconds, a file a run would take most of the time
                save(replace(result, runs=tuple(done)), partial)
                saved = now
            if progress:
                text = f"{run.stage} {i}/{len(missing)} runs, {now - begin:.0f} s"
                _line(experiment.slug, text, i == len(missing))
    finally:
        if len(done) > len(have):
            save(replace(result, runs=tuple(done)), partial)
    return replace(result, runs=tuple(done))


def verdict(result: Result, hash_now: str | None = None) -> Verdict:
    """The verdict of a stored result. ``hash_now``: hash of the sources now (computed where None).

    'stale' where the sources changed, 'smoke' for a smoke run, 'unfinished' where reporting seeds are missing: none of
    these is a verdict on the claim. Raises GuerdonError where a run lacks the metric or it is not finite.
    """
    experiment = Experiment.from_description(result.experiment)
    claim = experiment.claim
    if result.smoke:
        return Verdict("smoke", "smoke run: it shows that the experiment runs, nothing else")
    if (hash_now or experiment.hash()) != result.sources_hash:
        return Verdict("stale", "stale: the sources have changed since the runs; run the experiment again")
    values: dict[str, list[float]] = {}
    for arm in experiment.arms:
        runs = {r.seed: r for r in result.of("reporting", arm)}
        absent = [s for s in experiment.reporting_seeds if s not in runs]
        if absent:
            return Verdict("unfinished", f"unfinished: {arm!r} lacks the seeds {absent}")
        lacking = [s for s, r in runs.items() if claim.metric not in r.metrics]
        if lacking:
            raise GuerdonError(f"{result.slug}: run_one gave no {claim.metric!r} for {arm!r}, seed {lacking[0]}.")
        values[arm] = [float(runs[s].metrics[claim.metric]) for s in experiment.reporting_seeds]
    if not claim.compares:
        return check_verdict(values[experiment.method], claim.check)
    sign = 1.0 if claim.direction == "higher" else -1.0
    pairs = zip(values[experiment.method], values[claim.baseline], strict=True)
    decide = effect_verdict if claim.kind == "effect" else parity_verdict
    return decide([sign * (m - b) for m, b in pairs], claim.smallest_effect)


@dataclass(frozen=True)
class Difference:
    """A number that a replay did not give again."""

    run: Run
    metric: str
    stored: float
    replayed: float


def replay(result: Result, seeds: Sequence[int], tolerance: float = 1e-6, processes: int = 1) -> list[Difference]:
    """Run the stored reporting runs of these seeds again; what differs by more than ``tolerance`` relatively.

    Equal machine, versions and thread count give bitwise equal numbers; between machines rounding may grow, hence the
    tolerance. Raises GuerdonError where a seed is not stored.
    """
    stored = {r.key: r for r in result.runs if r.stage == "reporting" and r.seed in set(seeds)}
    absent = set(seeds) - {r.seed for r in stored.values()}
    if absent:
        raise GuerdonError(f"{result.slug}: the seeds {sorted(absent)} are not stored, so they cannot be replayed.")
    jobs = [(result.experiment["run"], r, result.smoke) for r in stored.values()]
    out = []
    for again in _all(jobs, processes):
        before = stored[again.key].metrics
        for metric in sorted({*before, *again.metrics}):
            a, b = before.get(metric, float("nan")), again.metrics.get(metric, float("nan"))
            if not (abs(a - b) <= tolerance * max(1.0, abs(a)) or (a != a and b != b)):
                out.append(Difference(again, metric, a, b))
    return out


def confirm(result: Result, seeds: Sequence[int], processes: int = 1) -> Result:
    """The result under the hash of the sources as they are now, once replayed seeds give the very same numbers.

    For changes that were not meant to change a number (a rename, a faster path). Raises GuerdonError naming the first
    number that differs: then the experiment has to be run again.
    """
    different = replay(result, seeds, tolerance=0.0, processes=processes)
    if different:
        d = different[0]
        raise GuerdonError(
            f"{result.slug}: {d.run.arm!r}, seed {d.run.seed}: {d.metric} was {d.stored!r} and is now {d.replayed!r}; "
            "run the experiment again."
        )
    now = Experiment.from_description(result.experiment).hash()
    note = f"seeds {sorted(set(seeds))} gave equal numbers under {now}, the runs were made under {result.sources_hash}"
    return replace(result, sources_hash=now, confirmed=note)
