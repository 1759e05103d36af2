"""Preference records in every ecosystem format: read, write, convert, validate, split.

Belongs here: containers and formats (one file each, in ``containers`` and ``formats``), what makes a record sound,
splits without leakage. Does not belong here: statistics of a data set (``audit``), rendering and tokenising
(``worlds.text``).
"""

from guerdon.data.conditioned import conditioned, reward_augmented
from guerdon.data.convert import Conversion, Loss, convert, convert_file
from guerdon.data.curriculum import curriculum
from guerdon.data.degrees import graded, key_phrases, with_degrees
from guerdon.data.difference import differences
from guerdon.data.files import ReadReport, iterate_preferences, read_preferences
from guerdon.data.first_step import first_differing_step
from guerdon.data.formats import FORMATS, Format, Holds, columns, detect_format, format_named
from guerdon.data.pair_policies import best_against_worst, pair_policies, pooled, writer_against_writer
from guerdon.data.prompts import read_prompts
from guerdon.data.provenance import noted, told
from guerdon.data.records import defects, is_empty, with_comparisons
from guerdon.data.rejection import first_round_pairs, rejected, rejection_sample, tournament_pairs
from guerdon.data.reward_gaps import by_gap, cross_fitted
from guerdon.data.segments import read_rollouts, read_segments
from guerdon.data.split import first_turn_key, prompt_key, split_preferences
from guerdon.data.views import from_steps, joined, segments_of, step_labels_from_first_error, together
from guerdon.data.write import write_preferences

__all__ = [
    "FORMATS",
    "Conversion",
    "Format",
    "Holds",
    "Loss",
    "ReadReport",
    "best_against_worst",
    "by_gap",
    "columns",
    "conditioned",
    "convert",
    "convert_file",
    "cross_fitted",
    "curriculum",
    "defects",
    "detect_format",
    "differences",
    "first_differing_step",
    "first_round_pairs",
    "first_turn_key",
    "format_named",
    "from_steps",
    "graded",
    "is_empty",
    "iterate_preferences",
    "joined",
    "key_phrases",
    "noted",
    "pair_policies",
    "pooled",
    "prompt_key",
    "read_preferences",
    "read_prompts",
    "read_rollouts",
    "read_segments",
    "rejected",
    "rejection_sample",
    "reward_augmented",
    "segments_of",
    "split_preferences",
    "step_labels_from_first_error",
    "together",
    "told",
    "tournament_pairs",
    "with_comparisons",
    "with_degrees",
    "write_preferences",
    "writer_against_writer",
]
