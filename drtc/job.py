"""The Job: what a user subclasses, and what drtc makes of the subclass.

Everything that is wrong with a Job is said when it is loaded, in one sentence that names class, field and remedy.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from inspect import getattr_static, isfunction, signature
from pathlib import Path
from typing import Any, Callable, Iterable, Literal, Mapping, Sequence

from .aggregates import Aggregate
from .codecs.base import Codec
from .codecs.json import json
from .errors import JobError
from .event import Seconds, TimeField, checked, misread
from .names import did_you_mean, snake_case
from .plain import LEAST, MOST, named
from .windows import Window

__all__ = ["Context", "Job", "JobSpec", "RawBatch", "check_key", "describe", "undeclared"]

RESERVED = ("key", "window_start", "window_end")  # columns that every view has
LATER = ("map_batch", "update")  # designed, not built


@dataclass(frozen=True, slots=True)
class Context:
    """What a Job may know of where it runs. Given to ``Job.open``.

    An option that is the relative path of a file beside the INI file is made absolute, so that
    ``open(context.options["campaigns"])`` works from every directory; any other option is as it was written.
    """

    options: Mapping[str, str]  # [job.options]
    view: str
    base: Path  # the INI file's directory
    worker: int  # the number of this worker process in its node, from 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", {name: self._located(text) for name, text in self.options.items()})

    def path(self, option: str) -> Path:
        """An option as a path, relative to the INI file, whether it exists or not; KeyError without the option."""
        return self.base.absolute() / self.options[option]

    def _located(self, text: str) -> str:
        try:
            path = self.base.absolute() / text
            return str(path) if text and path.is_file() else text
        except (OSError, ValueError):  # too long for a path, or a zero byte: not meant as one
            return text


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A mini-batch as ``Job.run`` gets it: messages of one lane in order, none of them decoded."""

    partition: str  # of the source
    slot: int
    offsets: Sequence[int]
    values: Sequence[bytes]
    codec: Codec

    def __len__(self) -> int:
        return len(self.values)

    def events(self) -> list[Any]:
        """The decoded messages. Raises what the codec raises if one of them does not decode."""
        return self.codec.decode_many(self.values)


class Job:
    """Base of every job: a subclass declares aggregates and defines exactly one of ``map`` and ``run``.

    A worker process makes one object, without arguments, and calls it from one thread. Events of a lane come in
    order. After a crash events are mapped again, so ``map`` must depend on the event and on nothing that changes.
    """

    #: how messages become events: drtc.json(Event), drtc.csv(Event), drtc.msgpack(Event), drtc.text(); None: plain JSON
    decode: Any = None
    #: event time: a field of epoch seconds, drtc.millis(field), drtc.iso(field), or a method time(self, event)
    time: Any = None
    #: drtc.Tumbling(...) or drtc.Sliding(...): a record for each key and window; needs ``time``
    window: Any = None

    def open(self, context: Context) -> None:
        """Called once per worker process, before the first event."""

    def close(self) -> None:
        """Called once when a worker process ends in good order; a killed one does not call it."""

    def map(self, event: Any) -> Iterable[tuple[Any, Mapping[str, Any]]] | None:
        """Yields ``key, {field: value}`` as often as the event counts; every field is an aggregate of the class.

        A key is text or a whole number. An event for which it raises counts nothing and goes to the dead letters.
        """
        raise NotImplementedError

    def run(self, batch: RawBatch) -> None:
        """Takes a raw mini-batch, for side effects: they happen at least once. If it raises, the batch is run
        again in halves until the message that makes it raise is found; that one goes to the dead letters."""
        raise NotImplementedError


@dataclass(frozen=True)
class JobSpec:
    """What a Job class says, checked."""

    cls: type[Job]
    name: str  # what its view is called unless the INI file names it
    kind: Literal["map", "run"]
    fields: dict[str, Aggregate]  # in the order of their declaration
    window: Window | None
    timed: bool
    codec: Codec

    def bind(self, job: Job) -> Callable[[Any], float] | None:
        """What takes an event's time, epoch seconds, for one object of the class; None for a Job without time.

        It raises TypeError or ValueError for an event without a sound time.
        """
        if not self.timed:
            return None
        field = _time_field(self.cls)
        if field is not None:
            return field.reader(typed=self.codec.fields is not None)
        method = job.time
        return lambda event: checked(method(event))

    def bind_extent(self) -> Callable[[Sequence[Any]], tuple[float, float] | None] | None:
        """What tells the least and the greatest time of events at once (TimeField.extent), if there is such a way."""
        field = _time_field(self.cls) if self.timed else None
        return field.extent(typed=self.codec.fields is not None) if field is not None else None


def describe(cls: type[Job]) -> JobSpec:
    """Checks a Job class.

    Raises:
        JobError: the first thing that is wrong with it.
    """
    fields = _fields(cls)
    kind = _kind(cls)
    codec = _codec(cls)
    _check_time(cls, codec)
    _check_window(cls)
    name = cls.__name__
    if kind == "map" and not fields:
        raise JobError(f"{name} declares no aggregate: add one for each field that map yields, such as "
                       "views = drtc.Count()")
    if kind == "run" and fields:
        raise JobError(f"{name}.{next(iter(fields))}: run stores no records, so remove the aggregate or define map "
                       "instead of run")
    if kind == "run" and cls.window is not None:
        raise JobError(f"{name}.window: run stores no records, so remove the window or define map instead of run")
    _check_constructor(cls)
    return JobSpec(cls, snake_case(name), kind, fields, cls.window, cls.time is not None, codec)


def check_key(cls: type[Job], key: Any) -> None:
    """A key is text (valid Unicode) or a whole number of 64 bits; True and 1.0 are not.

    Raises:
        JobError: any other.
    """
    if type(key) is str:
        if key.isascii():
            return
        try:
            key.encode()
            return
        except UnicodeEncodeError:
            raise JobError(f"{cls.__name__}.map yielded the key {key!r:.60}, which is not valid Unicode: "
                           "replace its lone surrogates") from None
    if type(key) is int and LEAST <= key <= MOST:
        return
    raise JobError(f"{cls.__name__}.map yielded the key {named(key)}: a key must be text or a whole number of 64 bits, "
                   "so yield such as str(key)")


def undeclared(cls: type[Job], field: Any) -> JobError:
    """The error of a field that ``map`` yielded and the class does not declare."""
    name = field if isinstance(field, str) else repr(field)
    return JobError(f"{cls.__name__}.map yielded the field {name}, which the class does not declare"
                    f"{did_you_mean(name, _fields(cls))}: add an aggregate, such as {name} = drtc.Count()")


def _fields(cls: type[Job]) -> dict[str, Aggregate]:
    fields: dict[str, Aggregate] = {}
    for name in dict.fromkeys(name for each in reversed(cls.__mro__) for name in vars(each)):
        value = getattr_static(cls, name)
        where = f"{cls.__name__}.{name}"
        if isinstance(value, type) and issubclass(value, Aggregate):
            raise JobError(f"{where} is the class {value.__name__}: write {name} = drtc.{value.__name__}(...)")
        if not isinstance(value, Aggregate):
            continue
        if hasattr(Job, name) or name in LATER:
            raise JobError(f"{where} hides what every Job has under that name: call the field something else")
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
            raise JobError(f"{where}: a field becomes a column, so its name must begin with a letter and have only "
                           "letters of a to z, digits and _")
        if name.lower() in RESERVED or name.lower().startswith("drtc"):
            raise JobError(f"{where}: the name is reserved for a column that drtc writes itself: call it something "
                           "else")
        twin = next((each for each in fields if each.lower() == name.lower()), None)
        if twin is not None:
            raise JobError(f"{where} differs from {twin} only by case, and databases take them for one column: "
                           "rename one")
        fields[name] = value
    return fields


def _kind(cls: type[Job]) -> Literal["map", "run"]:
    for name in LATER:
        if hasattr(cls, name):
            raise JobError(f"{cls.__name__}.{name}: this version of drtc does not have {name} yet: define map instead")
    maps, runs = cls.map is not Job.map, cls.run is not Job.run
    if maps and runs:
        raise JobError(f"{cls.__name__} defines both map and run: keep one of them")
    if not maps and not runs:
        raise JobError(f"{cls.__name__} defines neither map nor run: define map(self, event), which yields "
                       "key, {field: value}")
    name = "map" if maps else "run"
    method = getattr_static(cls, name)
    if isfunction(method) and not _takes(method, 2):
        raise JobError(f"{cls.__name__}.{name} must take {'event' if maps else 'batch'}: write def {name}(self, "
                       f"{'event' if maps else 'batch'})")
    return "map" if maps else "run"


def _codec(cls: type[Job]) -> Codec:
    codec = json() if cls.decode is None else cls.decode
    if isinstance(codec, Codec):
        return codec
    raise JobError(f"{cls.__name__}.decode is {codec!r:.60}, not a codec: write decode = drtc.json(Event), or csv, "
                   "msgpack or text")


def _time_field(cls: type[Job]) -> TimeField | None:
    return Seconds(cls.time) if isinstance(cls.time, str) else cls.time if isinstance(cls.time, TimeField) else None


def _check_time(cls: type[Job], codec: Codec) -> None:
    if cls.time is None:
        return
    field = _time_field(cls)
    where = f"{cls.__name__}.time"
    if field is None:
        if not callable(cls.time) or isinstance(cls.time, type):
            raise JobError(f"{where} is {cls.time!r:.60}: name a field of seconds, or write drtc.millis(field), "
                           "drtc.iso(field) or a method time(self, event)")
        if isfunction(getattr_static(cls, "time")) and not _takes(cls.time, 2):
            raise JobError(f"{where} must take event: write def time(self, event)")
    elif codec.fields is not None and field.field not in codec.fields:
        event = getattr(codec.event, "__name__", "the event")
        fields = f"whose fields are {', '.join(codec.fields)}" if codec.fields else "which has no fields"
        raise JobError(f"{where} names the field {field.field}, which is not one of {event}, {fields}"
                       + did_you_mean(field.field, codec.fields))
    else:
        remedy = misread(field, codec.event)
        if remedy:
            raise JobError(f"{where} names the field {field.field}, {remedy}")


def _check_window(cls: type[Job]) -> None:
    if cls.window is None:
        return
    if not isinstance(cls.window, Window):
        raise JobError(f"{cls.__name__}.window is {cls.window!r:.60}: write drtc.Tumbling(seconds=10) or drtc.Sliding("
                       "hours=1, every=300)")
    if cls.time is None:
        raise JobError(f"{cls.__name__}.window needs event time: say where it stands, such as time = \"at\" or "
                       "time = drtc.millis(\"at\")")


def _check_constructor(cls: type[Job]) -> None:
    if isfunction(cls.__init__) and not _takes(cls.__init__, 1):
        raise JobError(f"{cls.__name__}.__init__ needs arguments, and a Job is made without any: read [job.options] in "
                       "open(self, context)")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True
