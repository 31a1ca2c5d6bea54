"""The set ``drtc_views``: a record for each view, which columns it has, in which bins, and whether it may be written.

A view is made in two steps. CLEARING: whoever prepares it removes what is older than this note, which several may do,
and too often; READY: rows are saved. A dropped view keeps its note, as a record that was removed may come back when a
server starts from its disk.
"""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from .base import View

CLEARING, READY, DROPPED = "clearing", "ready", "dropped"


class Note(NamedTuple):
    """What the catalog says of a view."""

    state: str  # "": nothing
    bins: Mapping[str, Any]
    generation: int
    written: int  # when, in nanoseconds of the server's clock

    def changed(self, wanted: Mapping[str, Any]) -> list[str]:
        """The columns that are not as in ``wanted``."""
        if self.bins.get("windowed") != wanted["windowed"]:
            return ["windows"]
        have, want = ({name: rest for name, *rest in columns}
                      for columns in (self.bins.get("columns", []), wanted["columns"]))
        if have == want and list(have) != list(want):
            return ["another order"]
        return sorted(name for name in {*have, *want} if have.get(name) != want.get(name))


class Catalog:
    """The notes of the views of one installation. Errors are the client's own; ``aerospike`` translates."""

    def __init__(self, namespace: str, prefix: str) -> None:
        self._place = namespace, prefix + "drtc_views"

    def key(self, view: View) -> tuple[str, str, str]:
        return *self._place, view.name

    def read(self, client: Any, view: View) -> Note:
        from aerospike.exception import RecordNotFound
        from aerospike_helpers.expressions import LastUpdateTime
        from aerospike_helpers.operations.expression_operations import expression_read
        from aerospike_helpers.operations.operations import read

        asking = [*map(read, ("columns", "windowed", "state")), expression_read("written", LastUpdateTime().compile())]
        try:
            _, meta, bins = client.operate(self.key(view), asking)
        except RecordNotFound:
            return Note("", {}, 0, 0)
        return Note(bins["state"], bins, meta["gen"], bins["written"])

    def write(self, client: Any, view: View, known: Note, bins: Mapping[str, Any]) -> None:
        """Changes the view's note if it still is the ``known`` one; else somebody else has, and nothing is done."""
        import aerospike
        from aerospike.exception import RecordExistsError, RecordGenerationError, RecordNotFound

        try:
            if known.state:
                client.put(self.key(view), dict(bins), {"gen": known.generation},
                           {**_kept(), "gen": aerospike.POLICY_GEN_EQ, "exists": aerospike.POLICY_EXISTS_UPDATE})
            else:
                client.put(self.key(view), dict(bins), None, {**_kept(), "exists": aerospike.POLICY_EXISTS_CREATE})
        except (RecordExistsError, RecordGenerationError, RecordNotFound):
            pass

    def drop(self, client: Any, view: View) -> None:
        """From now on saves find that the view is gone."""
        client.put(self.key(view), {"state": DROPPED}, None, _kept())


def _kept() -> dict[str, Any]:
    import aerospike

    return {"key": aerospike.POLICY_KEY_SEND, "ttl": aerospike.TTL_NEVER_EXPIRE}
