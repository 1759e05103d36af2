"""The algebra of rewards: small nodes that compose into an inspectable graph.

``0.7 * a + 0.3 * b.pipe(zscore("prompt"))``, ``a * b``, ``a.gate(format_ok)``, ``minimum(a, b)``, ``constrained(a, cost
<= 0.1)``, ``dispatch("task", {...})``, ``gather(a, b).combine(...)``, ``a.schedule(linear(0, 1, steps=100))``,
``a.rename("style")``.

Validity, everywhere: a value that is *used* and FAILED makes the result FAILED; NOT_APPLICABLE values are left out of
sums, products, minima and maxima (nothing is renormalised), and a result with nothing left is NOT_APPLICABLE. An
invalid value is never read as 0. A gate or constraint whose condition is invalid is invalid.
"""

from guerdon.rewards.arithmetic import Extreme, Product, Scheduled, Sum, maximum, minimum, total
from guerdon.rewards.channelwise import Combined, Gather, Pipe, Renamed, gather
from guerdon.rewards.conditions import Condition, Constrained, Gate, constrained
from guerdon.rewards.dispatching import Dispatch, dispatch
from guerdon.rewards.graph import Call, Evaluation, Leaf, Node, as_node

__all__ = [
    "Call",
    "Combined",
    "Condition",
    "Constrained",
    "Dispatch",
    "Evaluation",
    "Extreme",
    "Gate",
    "Gather",
    "Leaf",
    "Node",
    "Pipe",
    "Product",
    "Renamed",
    "Scheduled",
    "Sum",
    "as_node",
    "constrained",
    "dispatch",
    "gather",
    "maximum",
    "minimum",
    "total",
]
