"""What MongoDB's errors mean: to be waited out, or for good, and then what is to be done. Needs pymongo."""
from __future__ import annotations

from typing import Any, Iterable, Mapping

from bson.errors import BSONError
from pymongo.errors import (AutoReconnect, BulkWriteError, ConfigurationError, ConnectionFailure, InvalidURI,
                            OperationFailure, PyMongoError, ServerSelectionTimeoutError, WriteConcernError)

from ..errors import StoreError, StoreUnavailable

#: what pymongo raises, also where a value cannot be encoded
FOREIGN = (PyMongoError, BSONError, OverflowError, UnicodeError)

IMMUTABLE, DUPLICATE = 66, 11000
# HostUnreachable, HostNotFound, LockTimeout, CursorNotFound, LockBusy, MaxTimeMSExpired, WriteConcernFailed,
# NetworkTimeout, ShutdownInProgress, WriteConflict, FailedToSatisfyReadPreference, ReadConcernMajorityNotAvailableYet,
# ExceededMemoryLimit, PrimarySteppedDown, NetworkInterfaceExceededTimeLimit, ExceededTimeLimit, SocketException,
# NotWritablePrimary, InterruptedAtShutdown, Interrupted, InterruptedDueToReplStateChange, StaleConfig,
# NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace
_PASSING = {6, 7, 24, 43, 46, 50, 64, 89, 91, 112, 133, 134, 146, 189, 202, 262, 9001, 10107, 11600, 11601, 11602,
            13388, 13435, 13436, 14031}
_FULL = ("disk is full", "disk full", "no space left", "out of disk", "space quota")
_PASSWORD = {18, 8000}  # AuthenticationFailed, Atlas' own
_PERMISSION = 13  # Unauthorized
_SIZE = {10334, 17419, 17420}  # BSONObjectTooLarge; an update's document


def translated(where: str, doing: str, error: Exception) -> StoreError:
    """The error to raise instead, to be chained to this one."""
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        return of_codes(where, doing, [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())])
    if isinstance(error, (InvalidURI, ConfigurationError)):
        return StoreError(f"{where}: [store] url, or what it asks for, is not usable: {_short(error)}")
    if isinstance(error, WriteConcernError):
        return StoreUnavailable(f"{where}: cannot {doing} now: too few servers confirm it ({_short(error)})")
    if isinstance(error, OperationFailure):
        return of_codes(where, doing, [{"code": error.code, "errmsg": _short(error)}],
                        error.has_error_label("RetryableWriteError") or error.timeout)
    if isinstance(error, ServerSelectionTimeoutError):
        return StoreUnavailable(f"{where}: cannot {doing} now: {_short(error)}: is it running? see [store] url")
    if isinstance(error, (AutoReconnect, ConnectionFailure)) or isinstance(error, PyMongoError) and error.timeout:
        return StoreUnavailable(f"{where}: cannot {doing} now: {_short(error)}")
    return StoreError(f"{where}: cannot {doing}: {_short(error)}")


def of_codes(where: str, doing: str, errors: Iterable[Mapping[str, Any]], passing: bool = False) -> StoreError:
    """The same for errors as the server tells them: one that lasts is told before those that pass."""
    found = [(error.get("code"), str(error.get("errmsg", ""))) for error in errors]
    for code, text in found:
        full = any(word in text.lower() for word in _FULL)
        if not (passing or full or code in _PASSING):
            return _lasting(where, doing, code, text)
    code, text = found[0]
    return StoreUnavailable(f"{where}: cannot {doing} now: {text}")


def _lasting(where: str, doing: str, code: Any, text: str) -> StoreError:
    if code in _PASSWORD:
        return StoreError(f"{where}: the user or the password is wrong: change [store] username and password,"
                          f" or authSource in url")
    if code == _PERMISSION:
        return StoreError(f"{where}: cannot {doing}: drtc's user lacks the permission: give it readWrite on the"
                          f" database ({text})")
    if code in _SIZE:
        return StoreError(f"{where}: cannot {doing}: a record is too large for a document ({text})")
    if code == DUPLICATE:
        return StoreError(f"{where}: cannot {doing}: a unique index that is not drtc's forbids it: drop that index"
                          f" ({text})")
    return StoreError(f"{where}: cannot {doing}: {text} (code {code})")


def _short(error: Exception) -> str:
    """Without the description of the whole topology that pymongo adds."""
    return str(error).partition(", Timeout: ")[0].partition(", full error: ")[0]
