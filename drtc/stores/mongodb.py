"""Results in MongoDB: a collection for each view, a document for each record, a field for each column.

``_id`` is the key, in windowed views ``{key, start}``; ``window_start`` and ``window_end`` are dates. ``drtc_version``
and ``drtc_state`` are drtc's own, ``drtc_views`` is the collection that says which views there are.

A save is one bulk of statements that each bear their version. Which of them found it moved, the server tells one by one
(see ``mongodb_documents``): nothing is read back, so what others write meanwhile cannot be mistaken.
"""
from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Iterable, Iterator, Mapping, Sequence

import msgspec

from ..errors import StoreError, StoreUnavailable
from ..values import Seconds
from .base import Id, Key, Row, Store, View, other_columns
from .ids import shares

if TYPE_CHECKING:
    from pymongo.database import Database

    from .mongodb_connection import Connection
    from .mongodb_documents import Document, Documents

_VIEWS = "drtc_views"
_PART = 1000  # most records of one call to the server
_LARGE = 1 << 20  # bytes of hidden state from which on a record is measured before it is sent


@dataclass(frozen=True, slots=True)
class MongoDBSettings:
    #: where the servers are, and all else that MongoDB's URLs can say, such as
    #: `mongodb://a:27017,b:27017/?replicaSet=rs0&tls=true`
    url: str = field(default="mongodb://127.0.0.1:27017", repr=False, metadata={"secret": True})
    #: the database that has the collections
    database: str = "drtc"
    #: whom drtc is there, where the url does not say it; empty: nobody
    username: str = ""
    #: better set as DRTC_STORE_PASSWORD
    password: str = field(default="", repr=False, metadata={"secret": True})
    #: an answer comes within so long, or the store is taken for unavailable
    timeout: Annotated[Seconds, msgspec.Meta(gt=0)] = 10.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("url: must begin with mongodb:// or mongodb+srv://")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", self.database) or self.database in ("admin", "local", "config"):
            raise ValueError("database: must be letters, digits, _ and -, and not one of MongoDB's own")
        if self.password and not self.username:
            raise ValueError("password: is nothing without username")


class MongoDBStore(Store):
    """pymongo's client reconnects by itself, and finds the new primary of a replica set."""

    def __init__(self, settings: MongoDBSettings, base: Path = Path()) -> None:
        self._settings = settings
        hosts = re.split(r"[/?]", settings.url.partition("://")[2].rpartition("@")[2])[0]
        self._where = f"MongoDB at {hosts}, database {settings.database}"
        self._connection: Connection | None = None
        self._documents: dict[View, Documents] = {}

    def open(self) -> None:
        self.survives = self._connected().survives

    def prepare(self, view: View) -> None:
        from pymongo.errors import CollectionInvalid, DuplicateKeyError

        columns = self._of(view).columns
        with self._translated("prepare") as database:
            try:
                database.create_collection(view.name, check_exists=False)
            except CollectionInvalid:
                pass
            except Exception as error:
                if getattr(error, "code", None) != 48:  # NamespaceExists
                    raise
            if view.windowed:
                database[view.name].create_index("window_start")
            self._check_empty(view, database)
            try:
                database[_VIEWS].insert_one({"_id": view.name, "windowed": view.windowed, "columns": columns})
                return
            except DuplicateKeyError:
                known = database[_VIEWS].find_one({"_id": view.name})
        if known is None:
            raise StoreUnavailable(f"{self._where}: the view {view.name} is being dropped")
        ours = _columns({"windowed": view.windowed, "columns": columns})
        changed = sorted({name for name, _ in _columns(known) ^ ours})
        if changed:
            raise other_columns(view, changed, self._where)

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        documents = self._of(view)
        found: dict[Id, Row] = {}
        for at in range(0, len(ids), _PART):
            asked = [documents.id(id) for id in ids[at:at + _PART]]
            with self._translated("read") as database:
                for each in database[view.name].find({"_id": {"$in": asked}}, documents.unread,
                                                     batch_size=len(asked) + 1):
                    row = documents.row(each)
                    found[row.id] = row
        return found

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        if any(row.version == 0 for row in rows):
            self._check_prepared(view)  # an insert makes the collection again that was dropped
        moved: set[Id] = set()
        for at in range(0, len(rows), _PART):
            moved |= self._save(view, rows[at:at + _PART])
        return moved

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        if during is not None and not view.windowed:
            return
        documents = self._of(view)
        condition = documents.condition(key, during)
        left = limit
        while left is None or left > 0:  # a bunch at a time: no cursor that the server may forget
            with self._translated("read") as database:
                page = list(database[view.name].find(condition, documents.unread).sort("_id").limit(_PART // 2))
            for row in map(documents.row, page):
                if left != 0 and (during is None or shares(row, *during)):
                    yield row
                    left = None if left is None else left - 1
            if len(page) < _PART // 2 or key is not None and not view.windowed:
                return
            condition["_id"] = {**condition.get("_id", {}), "$gt": page[-1]["_id"]}
            condition["_id"].pop("$gte", None)

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        documents = self._of(view)
        wanted = [documents.id(id) for id in ids]
        for at in range(0, len(wanted), _PART):
            with self._translated("delete") as database:
                database[view.name].delete_many({"_id": {"$in": wanted[at:at + _PART]}})

    def drop(self, view: View) -> None:
        with self._translated("drop") as database:
            database[_VIEWS].delete_one({"_id": view.name})  # first, so that nobody makes the collection again
            database[view.name].drop()

    def health(self) -> None:
        """A write that changes nothing, confirmed as a save is."""
        with self._translated("write") as database:
            database[_VIEWS].delete_one({"_id": ""})

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.client.close()

    def _save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        from pymongo.errors import BulkWriteError

        documents = self._of(view)
        self._measure(view, [row for row in rows if len(row.hidden) > _LARGE])
        statements = [documents.statement(row) for row in rows]
        with self._translated("write", view, rows) as database:
            try:
                result = database[view.name].bulk_write(statements, ordered=False)
            except BulkWriteError as error:
                told = error.details or {}
                moved = self._moved(rows, told, error)
                saved = told["nInserted"] + told["nMatched"]
            else:
                moved = set()
                saved = result.inserted_count + result.matched_count
        if saved + len(moved) != len(rows):
            raise StoreError(f"{self._where}: of {len(rows)} records {saved} were saved and {len(moved)} refused:"
                             f" this server does not answer as MongoDB 4.2 and newer do")
        return moved

    def _moved(self, rows: Sequence[Row], told: Mapping[str, Any], error: Exception) -> set[Id]:
        """Those whose version had moved, where nothing else went wrong."""
        from .mongodb_failures import DUPLICATE, IMMUTABLE, of_codes

        others = list(told["writeConcernErrors"])
        moved = set()
        for each in told["writeErrors"]:
            row = rows[each["index"]]
            expected = DUPLICATE if row.version == 0 else IMMUTABLE
            if each["code"] == expected and each.get("keyPattern", {"_id": 1}) == {"_id": 1}:
                moved.add(row.id)
            else:
                others.append({**each, "errmsg": f"{row.id}: {each.get('errmsg')}"})
        if others:
            raise of_codes(self._where, "write", others) from error
        return moved

    def _check_empty(self, view: View, database: Database[Document]) -> None:
        """Refuses records of a view that is not registered: a reset was interrupted, or somebody saved during it. To
        remove them here could remove what another process saves that prepares the view at the same moment."""
        if (not _registered(view, database)
                and database[view.name].find_one({"drtc_version": {"$exists": True}}, {"_id": True}) is not None
                and not _registered(view, database)):  # nor by somebody who was quicker
            raise StoreError(f"{self._where}: the collection {view.name} has records, and {_VIEWS} does not know the"
                             f" view (was it reset while in use?): stop drtc, and run drtc reset")

    def _check_prepared(self, view: View) -> None:
        with self._translated("read") as database:
            known = _registered(view, database)
        if not known:
            raise StoreError(f"{self._where}: the view {view.name} does not exist (was it reset while in use?):"
                             f" start drtc again")

    def _of(self, view: View) -> Documents:
        documents = self._documents.get(view)
        if documents is None:
            whole = self._connected().whole
            from .mongodb_documents import Documents

            documents = self._documents[view] = Documents(view, whole)
        return documents

    @contextmanager
    def _translated(self, doing: str, view: View | None = None, rows: Sequence[Row] = ()) -> Iterator[
            Database[Document]]:
        """The database, for one piece of work; ``rows`` of ``view`` are what is sent to it."""
        connection = self._connected()
        from .mongodb_failures import FOREIGN, translated

        try:
            yield connection.database
        except FOREIGN as error:
            found = translated(self._where, doing, error)
            if view is not None and not found.retryable:
                self._measure(view, rows)
            raise found from error

    def _measure(self, view: View, rows: Sequence[Row]) -> None:
        """Raises a StoreError about the first record that no document can hold, if there is one."""
        import bson

        most = self._connected().document_bytes
        for row in rows:
            which = f"{self._where}: the record {row.id.key!r:.60} of {view.name}"
            try:
                size = len(bson.encode(self._of(view).document(row)))
            except (bson.errors.BSONError, OverflowError, UnicodeError) as reason:
                raise StoreError(f"{which} is nothing that MongoDB can keep: {reason}") from reason
            if size > most:
                raise StoreError(f"{which} has {size} bytes, and MongoDB's documents have at most {most}:"
                                 f" let it keep less")

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                import pymongo  # noqa: F401
            except ImportError:
                raise StoreError("[store] type = mongodb needs pymongo: pip install 'drtc[mongodb]'") from None
            from .mongodb_connection import connect

            self._connection = connect(self._settings, self._where)
        return self._connection


def _registered(view: View, database: Database[Document]) -> bool:
    return database[_VIEWS].find_one({"_id": view.name}, {"_id": True}) is not None


def _columns(known: Mapping[str, Any]) -> set[tuple[str, str]]:
    window = ("window_start", "window_end") if known.get("windowed") else ()
    return {*((name, "date") for name in window), *((each["name"], each["kind"]) for each in known.get("columns", ()))}
