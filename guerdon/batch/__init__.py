"""The types every other room speaks: frozen, validated, with errors that say which row and field.

Belongs here: what a batch *is* (steps, predictions, pairs, lists, partitions, channels, scores, samples, preference
records, seeds). Does not belong here: anything that computes with them (``reduce`` and below), or that knows a model,
tokenizer or environment.

Shapes: N rows (one actor's trajectory each), at most T steps a row, P pairs, K channels. Floats are float32 or float64,
masks bool, ids int64; all tensors of an object share a device.
"""

from guerdon.batch.batches import Batch
from guerdon.batch.chains import Chains
from guerdon.batch.channels import Channel, Scores, Status
from guerdon.batch.lists import Lists
from guerdon.batch.pairs import Pairs, Partition
from guerdon.batch.records import Comparison, Message, Part, Preference
from guerdon.batch.samples import Samples, TokenRows
from guerdon.batch.seeds import Seed
from guerdon.batch.steps import Predictions, Steps
from guerdon.batch.transitions import Transitions

__all__ = [
    "Batch",
    "Chains",
    "Channel",
    "Comparison",
    "Lists",
    "Message",
    "Pairs",
    "Part",
    "Partition",
    "Predictions",
    "Preference",
    "Samples",
    "Scores",
    "Seed",
    "Status",
    "Steps",
    "TokenRows",
    "Transitions",
]
