"""Training: one recipe, one loop, and what goes on beside it: sources, companions, checkpoints, metrics, fitted reward models.

Belongs here: ``run`` and its parts, fitting reward models. Does not belong here: losses (``objectives``), advantages, sampling and
re-scoring (``worlds``), anything that knows one method by name (``catalogue``), apart from the recipes the command line offers.
"""
