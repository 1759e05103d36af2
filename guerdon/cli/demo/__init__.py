"""The demo: the whole main job on the embedded lab, and the longest example of how guerdon's parts are used.

Belongs here: what the demo trains (``study``), what its curves say in words (``findings``), how it is run and shown
(``show``). Does not belong here: any part that another program would want; those are in the rooms above.
"""

from guerdon.cli.demo.tour import run_demo

__all__ = ["run_demo"]
