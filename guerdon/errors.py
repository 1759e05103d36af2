"""The errors guerdon raises on purpose: one clear sentence each, saying what was expected, what came and what to do.

Nothing else belongs here; a bug raises whatever Python raises.
"""


class GuerdonError(ValueError):
    """Something a user gave cannot be used. The message is one sentence and is shown without a traceback by the CLI."""


class DataError(GuerdonError):
    """A record, file or folder cannot be read; the message names file, line and field."""


class RewardError(GuerdonError):
    """A reward raised, hung or returned something that is not a reward."""


class NeedsError(GuerdonError):
    """An objective or reward needs something the batch or the configuration does not provide."""
