"""Rewards in other libraries' training loops.

Belongs here: exporters of rewards into trainers and environments, a module a library. Language models: ``trl``,
``verl``, ``openrlhf``, ``slime``, ``nemo``, ``verifiers``, ``open_instruct``, ``rewardbench``, ``sequence_classifier``
(a transformers checkpoint), ``server`` (HTTP). Environments: ``gymnasium``, ``stable_baselines3``, ``imitation``,
``pettingzoo``. What they share: ``hosts`` (what a host without missing values is told), ``graphs`` (terms and groups of
a reward), ``crossing`` and ``batching`` (which rows may be scored together, and the thread that does), ``stepwise``
(transitions). Does not belong here: rewards themselves (``guerdon.rewards``; every exporter stands on
``rewards.bind``), checkers of wrappers (``guerdon.checks``), reading other libraries' data (``guerdon.data``).

Import the module you need; the package itself loads none of the libraries.
"""
