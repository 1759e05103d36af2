"""Is preference data fit to learn from: every audit of this room over one set of records."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch

from guerdon.audit.coverage import Coverage, prompt_coverage
from guerdon.audit.cycles import Cycles, preference_cycles
from guerdon.audit.features import Embed, text_rows
from guerdon.audit.format_bias import FormatBias, format_bias
from guerdon.audit.headline import headline
from guerdon.audit.intervals import Interval, wilson
from guerdon.audit.judgements import Agreement, ScoreAgreement, agreement, collect_judgements, score_agreement
from guerdon.audit.label_noise import LabelNoise, label_noise
from guerdon.audit.leakage import Leak, leakage
from guerdon.audit.length import LengthBaseline, LengthBias, length_baseline, length_bias, length_differences
from guerdon.audit.near_duplicates import NearDuplicates, near_duplicates
from guerdon.audit.pairs import decided_pairs
from guerdon.audit.position import Position, position_bias
from guerdon.audit.ranking_report import Rankings
from guerdon.audit.separability import Separability, separability
from guerdon.batch import Preference, Seed
from guerdon.data import prompt_key, split_preferences, with_comparisons
from guerdon.errors import GuerdonError

# Below this the held-out part of a split says nothing.
FEWEST_FOR_A_SPLIT = 40
# Sources kept per finding: enough to look them up, little enough to print.
EXAMPLES = 5
# What may be switched off, in the order it is done; label noise and separability take the longest.
PARTS = (
    "agreement",
    "cycles",
    "position",
    "near_duplicates",
    "format",
    "label_noise",
    "separability",
    "coverage",
    "leakage",
)
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class PreferenceAudit:
    """What a set of preference records looks like. Optional parts are None, and ``reasons`` says why by field name.

    records, responses, comparisons: counts; comparisons made from scores or labels are counted too. prompts: distinct
    ones, white space aside. repeated_prompts: records whose prompt another record before them has. ties: P = ½; soft:
    other probabilities strictly between 0 and 1. empty: responses that say nothing. identical: comparisons of a
    response with itself. duplicates: comparisons that repeat an earlier one (prompt, winner, loser, annotator and order
    shown). contradictions: distinct pairs that were decided both ways. length, baseline: LengthBias, and the held-out
    accuracy of length alone. shown_first: share of decided comparisons whose winner was shown first. desirable: share
    of true labels. The other parts are described where they are made. examples: field -> sources ('file:line') of the
    first few records behind a count. sampled: part -> how many records or pairs it looked at, where not at all of them.
    rankings: how a policy ranks the pairs, where whoever audits has one.
    """

    records: int
    responses: int
    comparisons: int
    prompts: int
    repeated_prompts: int
    ties: int
    soft: int
    empty: int
    identical: int
    duplicates: int
    contradictions: int
    length: LengthBias | None
    baseline: LengthBaseline | None
    shown_first: Interval | None
    desirable: Interval | None
    agreement: Agreement | None
    score_agreement: ScoreAgreement | None
    cycles: Cycles | None
    position: Position | None
    near_duplicates: tuple[NearDuplicates, ...] | None
    format: FormatBias | None
    label_noise: LabelNoise | None
    separability: Separability | None
    coverage: Coverage | None
    leakage: tuple[Leak, ...] | None
    reasons: dict[str, str]
    examples: dict[str, tuple[str, ...]]
    sampled: dict[str, int]
    rankings: Rankings | None = None

    def __str__(self) -> str:
        length = "" if self.baseline is None else f"; length alone predicts {self.baseline.accuracy} of them"
        return (
            f"{self.comparisons} comparisons on {self.prompts} prompts: {self.ties} ties, {self.empty} empty "
            f"responses, {self.identical} identical, {self.duplicates} duplicates, {self.contradictions} "
            f"contradictions{length}"
        )

    def headline(self) -> tuple[str, ...]:
        """At most seven sentences, the most important first."""
        return headline(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON, with the headline first."""
        plain = asdict(replace(self, rankings=None))
        return {"headline": list(self.headline()), **plain, "rankings": self.rankings and self.rankings.to_dict()}


def audit_preferences(
    preferences: Sequence[Preference],
    measure: Callable[[str], int] = len,
    unit: str = "characters",
    seed: int = 0,
    level: float = 0.95,
    *,
    parts: Collection[str] = PARTS,
    others: Mapping[str, Sequence[Preference]] | None = None,
    embed: Embed | None = None,
    most_pairs: int = 5_000,
    most_records: int = 100_000,
    progress: Progress | None = None,
) -> PreferenceAudit:
    """Audit records read with ``strict_pairs=False`` (defects are counted here, not refused).

    measure, unit: how responses are measured. seed: of every split, fold and draw; level: of all intervals. parts:
    which of PARTS to do. others: further splits by name, each measured against these records (``leakage``). embed:
    texts -> vectors [N,D], used in place of hashed words by label noise, separability and coverage. most_pairs: models
    (format, label noise, separability) are fitted to a sample of so many pairs; most_records: near duplicates, coverage
    and leakage look at a sample of so many records. progress: (part, parts done, parts in all). Raises GuerdonError
    where there is no record or a part is unknown.
    """
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise GuerdonError(f"audit_preferences: part {unknown[0]!r} is unknown; the parts are {', '.join(PARTS)}.")
    if not preferences:
        raise GuerdonError("audit_preferences: at least one record is needed, but none came.")
    records = [with_comparisons(preference) for preference in preferences]
    run = _Run(parts, progress)
    judged = collect_judgements(records)
    everything = [c for preference in records for c in preference.comparisons]
    labels = [label for preference in records for label in preference.labels or () if label is not None]
    keys = {prompt_key(record) for record in records}
    lengths = length_differences(records, measure)
    length = run.try_("length", lambda: _length(lengths, unit, level))
    baseline = run.try_("baseline", lambda: _baseline(records, measure, seed, level))
    if not labels:
        run.reasons["desirable"] = "no response is labelled desirable or undesirable"
    annotators = len({c.annotator for c in everything if c.annotator})
    agreed = run.part("agreement", lambda: agreement(judged, annotators, level))
    scored = run.try_("score_agreement", lambda: score_agreement(records))
    cycles = run.part(
        "cycles", lambda: _some(preference_cycles(records, level), "no prompt has three compared responses")
    )
    position = run.part("position", lambda: position_bias(records, level))
    if position is None or position.shown is None:
        run.reasons.setdefault("shown_first", "the records do not say in which order responses were shown")
    some = _sample(records, most_records, seed)
    if len(some) < len(records):
        run.sampled |= dict.fromkeys({"near_duplicates", "coverage", "leakage"} & set(parts), len(some))
    near = run.part(
        "near_duplicates",
        lambda: tuple(near_duplicates(some, of, seed=seed, level=level) for of in ("records", "prompts", "responses")),
    )
    models = _models(records, run, embed, most_pairs, seed, level)
    coverage = run.part("coverage", lambda: prompt_coverage(some, embed=embed, seed=seed))
    leaks = run.part("leakage", lambda: _leaks(some, others, most_records, seed, level))
    return PreferenceAudit(
        records=len(records),
        responses=sum(len(preference.responses) for preference in records),
        comparisons=len(everything),
        prompts=len(keys),
        repeated_prompts=len(records) - len(keys),
        ties=sum(c.p == 0.5 for c in everything),
        soft=sum(c.p not in (0.0, 0.5, 1.0) for c in everything),
        empty=len(judged.sources["empty"]),
        identical=len(judged.sources["identical"]),
        duplicates=len(judged.sources["duplicates"]),
        contradictions=len(judged.sources["contradictions"]),
        length=length,
        baseline=baseline,
        shown_first=position.shown.first if position and position.shown else None,
        desirable=wilson(sum(labels), len(labels), level) if labels else None,
        agreement=agreed,
        score_agreement=scored,
        cycles=cycles,
        position=position,
        near_duplicates=near,
        format=models[0],
        label_noise=models[1],
        separability=models[2],
        coverage=coverage,
        leakage=leaks,
        reasons=run.reasons,
        examples={name: tuple(list(dict.fromkeys(sources))[:EXAMPLES]) for name, sources in judged.sources.items()},
        sampled=run.sampled,
    )


class _Run:
    """Parts one after the other: what could not be done leaves its reason."""

    def __init__(self, parts: Collection[str], progress: Progress | None) -> None:
        self.parts, self.progress, self.done = set(parts), progress, 0
        self.reasons: dict[str, str] = {}
        self.sampled: dict[str, int] = {}

    def part(self, name: str, make: Callable[[], T]) -> T | None:
        if name not in self.parts:
            self.reasons[name] = "not asked for"
            return None
        if self.progress is not None:
            self.progress(name, self.done, len(self.parts))
        self.done += 1
        return self.try_(name, make)

    def try_(self, name: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except GuerdonError as error:
            self.reasons[name] = str(error)
            return None


def _some(value: T | None, reason: str) -> T:
    if value is None:
        raise GuerdonError(reason)
    return value


def _length(lengths: torch.Tensor, unit: str, level: float) -> LengthBias:
    if not len(lengths):
        raise GuerdonError("no comparison has a winner")
    return length_bias(lengths, unit, level)


def _models(
    records: Sequence[Preference], run: _Run, embed: Embed | None, most: int, seed: int, level: float
) -> tuple[FormatBias | None, LabelNoise | None, Separability | None]:
    """What is fitted to decided pairs; the features of the texts are made once."""
    asked = run.parts & {"format", "label_noise", "separability"}
    pairs = decided_pairs(records, most, seed)
    if len(pairs) < pairs.whole:
        run.sampled |= dict.fromkeys(sorted(asked), len(pairs))
    rows = text_rows(pairs.texts, embed) if len(pairs) and asked - {"format"} else None
    return (
        run.part("format", lambda: format_bias(pairs, level, seed=seed)),
        run.part("label_noise", lambda: label_noise(pairs, rows=rows, level=level, seed=seed)),
        run.part("separability", lambda: separability(pairs, rows=rows, level=level, seed=seed)),
    )


def _leaks(
    records: Sequence[Preference],
    others: Mapping[str, Sequence[Preference]] | None,
    most: int,
    seed: int,
    level: float,
) -> tuple[Leak, ...]:
    if not others:
        raise GuerdonError("no other split was given")
    return tuple(
        leak
        for name, split in others.items()
        for leak in leakage({"these records": records, name: _sample(split, most, seed)}, seed=seed, level=level)
    )


def _sample(records: Sequence[Preference], most: int, seed: int) -> Sequence[Preference]:
    if len(records) <= most:
        return records
    kept = torch.randperm(len(records), generator=Seed(seed).child("records").torch())[:most].sort().values
    return [records[i] for i in kept.tolist()]


def _baseline(records: Sequence[Preference], measure: Callable[[str], int], seed: int, level: float) -> LengthBaseline:
    decided = [record for record in records if any(c.p != 0.5 for c in record.comparisons)]
    if len(decided) < FEWEST_FOR_A_SPLIT:
        raise GuerdonError(
            f"holding some out needs {FEWEST_FOR_A_SPLIT} records with a winner, but there are {len(decided)}"
        )
    return length_baseline(*split_preferences(decided, 0.25, seed), measure, level)
