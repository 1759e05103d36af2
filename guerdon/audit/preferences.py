"""Is preference data fit to learn from: counts, repeats, contradictions, length and position bias, agreement."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from guerdon.audit.agreement import krippendorff_alpha
from guerdon.audit.intervals import Interval, wilson
from guerdon.audit.length import LengthBaseline, LengthBias, length_baseline, length_bias, length_differences
from guerdon.batch import Comparison, Message, Preference
from guerdon.data import is_empty, prompt_key, split_preferences, with_comparisons
from guerdon.errors import GuerdonError

# Below this the held-out part of a split says nothing.
FEWEST_FOR_A_SPLIT = 40
# Sources kept per finding: enough to look them up, little enough to print.
EXAMPLES = 5


@dataclass(frozen=True)
class Agreement:
    """Judgements of the same pair compared. alpha: Krippendorff's, nominal, over {one side, the other, tie}.

    pairs: pairs judged at least twice. judgements: their judgements. unanimous: share of those pairs without dissent.
    annotators: distinct names, 0 where records name none.
    """

    alpha: float
    pairs: int
    judgements: int
    unanimous: Interval
    annotators: int


@dataclass(frozen=True)
class PreferenceAudit:
    """What a set of preference records looks like. Optional parts are None, and ``reasons`` says why by field name.

    records, responses, comparisons: counts; comparisons made from scores or labels are counted too. prompts: distinct
    ones, white space aside. repeated_prompts: records whose prompt another record before them has. ties: P = ½; soft:
    other probabilities strictly between 0 and 1. empty: responses that say nothing. identical: comparisons of a
    response with itself. duplicates: comparisons that repeat an earlier one (prompt, winner, loser and annotator).
    contradictions: distinct pairs that were decided both ways. length, baseline: LengthBias, and the held-out accuracy
    of length alone. shown_first: share of decided comparisons whose winner was shown first. desirable: share of true
    labels. examples: field -> sources ('file:line') of the first few records behind a count.
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
    reasons: dict[str, str]
    examples: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        length = "" if self.baseline is None else f"; length alone predicts {self.baseline.accuracy} of them"
        return (
            f"{self.comparisons} comparisons on {self.prompts} prompts: {self.ties} ties, {self.empty} empty "
            f"responses, {self.identical} identical, {self.duplicates} duplicates, {self.contradictions} "
            f"contradictions{length}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON."""
        return asdict(self)


def audit_preferences(
    preferences: Sequence[Preference],
    measure: Callable[[str], int] = len,
    unit: str = "characters",
    seed: int = 0,
    level: float = 0.95,
) -> PreferenceAudit:
    """Audit records read with ``strict_pairs=False`` (defects are counted here, not refused).

    measure, unit: how responses are measured. seed: of the split behind ``baseline``, a quarter of the records held out
    by prompt. level: of all intervals. Raises GuerdonError where there is no record.
    """
    if not preferences:
        raise GuerdonError("audit_preferences: at least one record is needed, but none came.")
    records = [with_comparisons(preference) for preference in preferences]
    reasons: dict[str, str] = {}
    found = _Findings()
    judged = _judgements(records, found)
    keys = Counter(map(prompt_key, records))
    lengths = length_differences(records, measure)
    if not len(lengths):
        reasons["length"] = "no comparison has a winner"
    everything = [c for preference in records for c in preference.comparisons]
    labels = [label for preference in records for label in preference.labels or () if label is not None]
    if not labels:
        reasons["desirable"] = "no response is labelled desirable or undesirable"
    return PreferenceAudit(
        records=len(records),
        responses=sum(len(preference.responses) for preference in records),
        comparisons=len(everything),
        prompts=len(keys),
        repeated_prompts=len(records) - len(keys),
        ties=sum(c.p == 0.5 for c in everything),
        soft=sum(c.p not in (0.0, 0.5, 1.0) for c in everything),
        **found.counts(),
        length=length_bias(lengths, unit, level) if len(lengths) else None,
        baseline=_baseline(records, measure, seed, level, reasons),
        shown_first=_shown_first(everything, level, reasons),
        desirable=wilson(sum(labels), len(labels), level) if labels else None,
        agreement=_agreement(judged, {c.annotator for c in everything if c.annotator}, level, reasons),
        reasons=reasons,
        examples={name: tuple(sources[:EXAMPLES]) for name, sources in found.sources.items()},
    )


class _Findings:
    """Sources of the records behind each count, in the order met."""

    NAMES = ("empty", "identical", "duplicates", "contradictions")

    def __init__(self) -> None:
        self.sources: dict[str, list[str]] = {name: [] for name in self.NAMES}

    def add(self, name: str, preference: Preference, index: int) -> None:
        self.sources[name].append(preference.source or f"record {index + 1}")

    def counts(self) -> dict[str, int]:
        return {name: len(sources) for name, sources in self.sources.items()}


def _judgements(records: Sequence[Preference], found: _Findings) -> dict[tuple[str, str, str], list[str]]:
    """Per pair (prompt, two responses in a fixed order): what each comparison said, 'first', 'second' or 'tie'.

    The fixed order is that of their digests, which has nothing to do with their content, so no verdict is favoured.
    """
    judged: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    seen: set[tuple[Any, ...]] = set()
    for index, preference in enumerate(records):
        prompt = _digest(preference.prompt)
        digests = [_digest(response) for response in preference.responses]
        for response in preference.responses:
            if is_empty(response):
                found.add("empty", preference, index)
        for c in preference.comparisons:
            a, b = digests[c.first], digests[c.second]
            if a == b:
                found.add("identical", preference, index)
                continue
            verdict = "tie" if c.p == 0.5 else "first" if (c.p > 0.5) == (a < b) else "second"
            pair = (prompt, min(a, b), max(a, b))
            if (*pair, verdict, c.annotator) in seen:
                found.add("duplicates", preference, index)
            seen.add((*pair, verdict, c.annotator))
            # Counted once a pair, at the judgement that first goes against an earlier one.
            against = {"first": "second", "second": "first"}.get(verdict)
            if against in judged[pair] and verdict not in judged[pair]:
                found.add("contradictions", preference, index)
            judged[pair].append(verdict)
    return judged


def _digest(messages: Sequence[Message]) -> str:
    text = repr([(m.role, [(part.kind, part.value) for part in m.parts]) for m in messages])
    return hashlib.sha256(text.encode()).hexdigest()


def _baseline(
    records: Sequence[Preference], measure: Callable[[str], int], seed: int, level: float, reasons: dict[str, str]
) -> LengthBaseline | None:
    decided = [record for record in records if any(c.p != 0.5 for c in record.comparisons)]
    if len(decided) < FEWEST_FOR_A_SPLIT:
        reasons["baseline"] = (
            f"holding some out needs {FEWEST_FOR_A_SPLIT} records with a winner, but there are {len(decided)}"
        )
        return None
    try:
        train, test = split_preferences(decided, 0.25, seed)
    except GuerdonError as error:
        reasons["baseline"] = str(error)
        return None
    return length_baseline(train, test, measure, level)


def _shown_first(comparisons: Sequence[Comparison], level: float, reasons: dict[str, str]) -> Interval | None:
    ordered = [c for c in comparisons if c.order in ("first", "second") and c.p != 0.5]
    if not ordered:
        reasons["shown_first"] = "the records do not say in which order responses were shown"
        return None
    return wilson(sum((c.p > 0.5) == (c.order == "first") for c in ordered), len(ordered), level)


def _agreement(
    judged: dict[tuple[str, str, str], list[str]], annotators: set[str], level: float, reasons: dict[str, str]
) -> Agreement | None:
    units = [verdicts for verdicts in judged.values() if len(verdicts) > 1]
    alpha = krippendorff_alpha(units)
    if alpha is None:
        reasons["agreement"] = "all repeated judgements say the same side" if units else "no pair was judged twice"
        return None
    unanimous = sum(len(set(verdicts)) == 1 for verdicts in units)
    return Agreement(alpha, len(units), sum(map(len, units)), wilson(unanimous, len(units), level), len(annotators))
