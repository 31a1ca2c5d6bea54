"""The connection to MongoDB: how safe a write must be, how fresh a read, and what the server can do."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ..errors import StoreError, StoreUnavailable
from .mongodb_failures import FOREIGN, translated

if TYPE_CHECKING:
    from .mongodb import MongoDBSettings

Document = dict[str, Any]

LOOKING = 3.0  # seconds that a server is looked for, where the time-out is not shorter: the next call goes on looking


class Connection(NamedTuple):
    client: MongoClient[Document]
    database: Database[Document]
    survives: str
    whole: bool  # whether documents may be all that those of MongoDB 5.0 may be
    document_bytes: int  # the most that a document may have


def connect(settings: MongoDBSettings, where: str) -> Connection:
    """The connection, once the server has answered. pymongo renews it by itself, and finds a new primary.

    Raises:
        StoreUnavailable: not now. StoreError: never with these settings.
    """
    client = _client(settings, where)
    try:
        hello = client.admin.command("hello")
        server = client.server_info()
        concern = client.write_concern
        if not concern.document:
            concern = WriteConcern(w="majority", j=True)
        if not concern.acknowledged:
            raise StoreError(f"{where}: [store] url: with w=0 nothing is ever known to be stored: leave it out")
        replicated = "setName" in hello or hello.get("msg") == "isdbgrid"
        database = client.get_database(
            settings.database, CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS),
            pymongo.ReadPreference.PRIMARY, concern,
            # What a new primary may not have must not be taken for stored: a fence that is read is believed
            ReadConcern("majority") if replicated else ReadConcern())
        database.list_collection_names(filter={"name": ""})  # signs in
        whole = "ferretdbVersion" not in server and server.get("versionArray", [0])[0] >= 5
        return Connection(client, database, survives(concern, replicated, "ferretdbVersion" in server), whole,
                          hello.get("maxBsonObjectSize", 1 << 24))
    except FOREIGN as error:
        client.close()
        raise translated(where, "open", error) from error
    except BaseException:
        client.close()
        raise


def survives(concern: WriteConcern, replicated: bool, ferret: bool) -> str:
    """What is left of an answered save, by the write concern in force."""
    wanted: Mapping[str, Any] = concern.document
    if ferret:
        return "what FerretDB's own database survives"
    journal = wanted.get("j", wanted.get("w") == "majority")
    if not replicated:
        return "a killed server and a power cut" if journal else "a killed server but for its last 100 ms"
    if wanted.get("w", "majority") != 1:
        return "the loss of a minority of the servers" + (" and a power cut" if journal else "")
    return "a killed primary that comes back, not the loss of it" if journal else "not the loss of the primary"


def _client(settings: MongoDBSettings, where: str) -> MongoClient[Document]:
    milliseconds = round(settings.timeout * 1000)
    options: Document = {
        "appname": "drtc", "timeoutMS": milliseconds, "connectTimeoutMS": milliseconds,
        "serverSelectionTimeoutMS": min(milliseconds, round(LOOKING * 1000)),
    }
    if settings.username:
        options["username"] = settings.username
    if settings.password:
        options["password"] = settings.password
    try:
        return MongoClient(settings.url, **options)
    except ConfigurationError as error:
        if settings.url.startswith("mongodb+srv:") and error.__cause__ is not None:
            raise StoreUnavailable(f"{where}: its servers are not found in the DNS now ({error}): see [store]"
                                   " url") from error
        told = "" if "@" in settings.url else f" ({error})"  # what is wrong may stand in the password
        raise StoreError(f"{where}: [store] url is no URL of MongoDB{told}: percent-encode the user's name and"
                         f" password in it, or set username and password") from None
    except ValueError as error:
        told = "" if "@" in settings.url else f" ({error})"
        raise StoreError(f"{where}: [store] url is no URL of MongoDB{told}") from None
