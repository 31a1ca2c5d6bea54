"""Every error that drtc raises on purpose: one sentence that says what, where, and what to do."""
from __future__ import annotations


INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


class DrtcError(Exception):
    """The root. Its text is one sentence for a person; ``exit_code`` is what the command line ends with."""

    exit_code = 1
    retryable = False


class ConfigError(DrtcError):
    """A mistake in the INI file, the environment or ``--set``."""

    exit_code = 2


class JobError(DrtcError):
    """A mistake in the user's Job: what it defines, declares or yields."""

    exit_code = 3


class SourceError(DrtcError):
    """A source that cannot be read, or whose content contradicts what was committed."""

    exit_code = 4


class SourceUnavailable(SourceError):
    """A source that does not answer now and may later."""

    retryable = True


class StoreError(DrtcError):
    """A store that refuses what is asked of it: no permission, a wrong schema, a record too large."""

    exit_code = 5


class StoreUnavailable(StoreError):
    """A store that does not answer now, or is full now, and may not be later. The outcome of a save is unknown."""

    retryable = True


class WireError(DrtcError):
    """A peer that broke the protocol, or is not who it should be. The connection is closed."""

    exit_code = 6


class ClusterError(DrtcError):
    """Membership: an address in use, a name taken twice, no members."""

    exit_code = 7


class NotDrained(DrtcError):
    """A role was stopped before all that it had begun was stored. Nothing is lost: the rest is read again."""

    exit_code = 8


class QueueError(DrtcError):
    """The queue on disk: a directory that cannot be used, files that do not work."""

    exit_code = 9


class QueueFull(QueueError):
    """No room for these items now: the budget or the disk is used up. Nothing was taken."""

    retryable = True


class Damaged(QueueError):
    """One item of the queue on disk is missing, truncated or changed. It was set aside."""


class Stalled(DrtcError):
    """``drtc status``: there is work, and nothing has been stored for ``[cluster] timeout``."""

    exit_code = 10


class Incomplete(DrtcError):
    """``drtc status``: a member that should be there is not, or is not connected to another."""

    exit_code = 11
