from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

import drtc
from drtc.errors import JobError
from drtc.job import Context, RawBatch, check_key, describe, undeclared
from drtc.loading import load_job


class Action(drtc.Event):
    device: str
    at: float
    born: str


class Good(drtc.Job):
    decode = drtc.csv(Action)
    time = "at"
    window = drtc.Tumbling(seconds=10)

    views = drtc.Count()
    recent = drtc.Recent(2)

    def map(self, action: Any) -> Iterator[Any]:
        yield action.device, {"views": 1}


class Tasks(drtc.Job):
    def run(self, batch: RawBatch) -> None:
        pass


def job(**attributes: Any) -> type[drtc.Job]:
    """The good job with other attributes; None takes one away."""
    plain: dict[str, Any] = {"decode": Good.decode, "views": Good.views, "map": Good.map}
    kept = {name: value for name, value in {**plain, **attributes}.items() if value is not None}
    return type("Profile", (drtc.Job,), kept)


def takes_nothing(self: Any) -> None: ...


def needs_more(self: Any, more: Any) -> None: ...


def test_what_a_job_says() -> None:
    spec = describe(Good)
    assert (spec.cls, spec.name, spec.kind, spec.timed) == (Good, "good", "map", True)
    assert (spec.window, spec.codec) == (Good.window, Good.decode)
    assert list(spec.fields.items()) == [("views", Good.views), ("recent", Good.recent)]
    assert describe(Tasks).kind == "run" and describe(Tasks).fields == {}


@pytest.mark.parametrize("name, view", [
    ("CampaignViews", "campaign_views"), ("Profile", "profile"), ("HTTPErrors2xx", "http_errors2xx"),
    ("A", "a"), ("Größe", "gr__e"), ("my_job", "my_job"),
])
def test_a_view_is_called_as_its_class(name: str, view: str) -> None:
    assert describe(type(name, (Good,), {})).name == view


def test_fields_are_inherited_in_order_and_may_be_taken_away_or_replaced() -> None:
    class More(Good):
        last = drtc.Last()
        recent = None  # type: ignore[assignment]
        views = drtc.Sum()  # type: ignore[assignment]

    assert {name: repr(each) for name, each in describe(More).fields.items()} == {"views": "Sum()", "last": "Last()"}


@pytest.mark.parametrize("attributes, sentence", [
    ({"map": None}, "Profile defines neither map nor run: define map(self, event), which yields key, {field: value}"),
    ({"run": Tasks.run}, "Profile defines both map and run: keep one of them"),
    ({"map_batch": takes_nothing}, "Profile.map_batch: this version of drtc does not have map_batch yet: define map"),
    ({"update": takes_nothing}, "Profile.update: this version of drtc does not have update yet: define map"),
    ({"map": takes_nothing}, "Profile.map must take event: write def map(self, event)"),
    ({"map": None, "views": None, "run": takes_nothing}, "Profile.run must take batch: write def run(self, batch)"),
    ({"views": None}, "Profile declares no aggregate: add one for each field that map yields"),
    ({"map": None, "run": Tasks.run}, "Profile.views: run stores no records, so remove the aggregate or define map"),
    ({"map": None, "views": None, "run": Tasks.run, "time": "at", "window": Good.window},
     "Profile.window: run stores no records"),
    ({"views": drtc.Count}, "Profile.views is the class Count: write views = drtc.Count(...)"),
    ({"map": drtc.Count()}, "Profile.map hides what every Job has under that name"),
    ({"time": drtc.Count()}, "Profile.time hides what every Job has under that name"),
    ({"update": drtc.Count()}, "Profile.update hides what every Job has under that name"),
    ({"key": drtc.Count()}, "Profile.key: the name is reserved"),
    ({"Window_Start": drtc.Count()}, "Profile.Window_Start: the name is reserved"),
    ({"drtc_state": drtc.Count()}, "Profile.drtc_state: the name is reserved"),
    ({"_views": drtc.Count()}, "Profile._views: a field becomes a column, so its name must begin with a letter"),
    ({"größe": drtc.Count()}, "Profile.größe: a field becomes a column"),
    ({"Views": drtc.Count()}, "Profile.Views differs from views only by case"),
    ({"decode": drtc.json}, "Profile.decode is <function json"),
    ({"decode": Action}, "not a codec: write decode = drtc.json(Event)"),
    ({"time": "att"}, "Profile.time names the field att, which is not one of Action, whose fields are device, at, born"
                      " (did you mean at?)"),
    ({"time": drtc.millis("when")}, "Profile.time names the field when, which is not one of Action"),
    ({"time": "born"}, "Profile.time names the field born, which is not a number: write drtc.iso(\"born\")"),
    ({"time": drtc.iso("at")}, "Profile.time names the field at, which is a number: write drtc.millis(field)"),
    ({"decode": drtc.text(), "time": "at"}, "Profile.time names the field at, which is not one of str, which has no"),
    ({"time": 5}, "Profile.time is 5: name a field of seconds, or write drtc.millis(field)"),
    ({"time": takes_nothing}, "Profile.time must take event: write def time(self, event)"),
    ({"window": Good.window}, "Profile.window needs event time: say where it stands, such as time = \"at\""),
    ({"window": drtc.Tumbling, "time": "at"}, "Profile.window is <class 'drtc.windows.Tumbling'>: write drtc.Tumb"),
    ({"__init__": needs_more}, "Profile.__init__ needs arguments, and a Job is made without any"),
])
def test_a_wrong_job_is_one_sentence(attributes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        describe(job(**attributes))
    assert str(caught.value).startswith(sentence) or sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "größe", "x" * 10_000, 0, -2 ** 63, 2 ** 63 - 1])
def test_keys_that_every_store_takes(key: Any) -> None:
    check_key(Good, key)


@pytest.mark.parametrize("key, sentence", [
    (None, "Good.map yielded the key None: a key must be text or a whole number of 64 bits"),
    (True, "Good.map yielded the key bool True"), (1.0, "Good.map yielded the key float 1.0"),
    (b"a", "Good.map yielded the key bytes b'a'"), (("a", 1), "so yield such as str(key)"),
    (2 ** 63, "Good.map yielded the key int 9223372036854775808"), (-2 ** 63 - 1, "64 bits"),
    ("a\ud800", "which is not valid Unicode"),
])
def test_other_keys_are_refused(key: Any, sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        check_key(Good, key)
    assert sentence in str(caught.value)


def test_an_undeclared_field_is_guessed() -> None:
    assert str(undeclared(Good, "view")) == (
        "Good.map yielded the field view, which the class does not declare (did you mean views?): add an aggregate, "
        "such as view = drtc.Count()")
    assert "the field 5, which" in str(undeclared(Good, 5))


def test_time_is_bound_to_one_job() -> None:
    class Shifted(drtc.Job):
        views = drtc.Count()
        shift = 10

        def time(self, event: Any) -> Any:
            return event["at"] + self.shift if event else "soon"

        def map(self, event: Any) -> Any: ...

    read = describe(Shifted).bind(Shifted())
    assert read is not None and read({"at": 5}) == 15
    with pytest.raises(TypeError, match="an event's time must be a number of seconds, not 'soon'"):
        read(None)
    with pytest.raises(ValueError, match="nan"):
        read({"at": float("nan")})
    assert describe(job()).bind(job()()) is None
    for time, decode, event in (("at", Good.decode, Action("d", 5, "")), ("at", drtc.json(), {"at": 5}),
                                (drtc.millis("at"), drtc.json(Action), Action("d", 5000, "")),
                                (drtc.iso("at"), drtc.msgpack(), {"at": "1970-01-01T00:00:05Z"})):
        cls = job(time=time, decode=decode)
        bound = describe(cls).bind(cls())
        assert bound is not None and bound(event) == 5


def test_without_a_codec_messages_are_json() -> None:
    assert describe(job(decode=None)).codec.decode(b'{"a": 1}') == {"a": 1}


def test_options_that_name_files_beside_the_ini_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "campaigns.json").write_text("{}")
    (tmp_path / "fast").mkdir()
    written = {"campaigns": "campaigns.json", "mode": "fast", "other": "none.json", "empty": "", "odd": "a\0b",
               "absolute": str(tmp_path / "x"), "long": "x" * 5000}
    context = Context(written, "views_v1", tmp_path, 0)
    assert context.options == {**written, "campaigns": str(tmp_path / "campaigns.json")}
    assert context.path("other") == tmp_path / "none.json"
    assert context.path("absolute") == tmp_path / "x"


def test_a_raw_batch_decodes_on_demand() -> None:
    batch = RawBatch("ads-0", 3, [7, 9], [b"1", b"[2]"], drtc.json())
    assert (len(batch), batch.events()) == (2, [1, [2]])


JOB = """\
import drtc
class Profile(drtc.Job):
    views = drtc.Count()
    def map(self, event):
        yield event["device"], {"views": 1}
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for modules; what was imported from it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = dict(sys.modules)
    yield tmp_path
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("path, spec", [("jobs.py", "jobs:Profile"), ("package/inner.py", "package.inner:Profile"),
                                        ("profile.py", "profile:Profile"), ("cProfile.py", "cProfile:Profile")])
def test_a_module_beside_the_ini_is_found_first(beside: Path, path: str, spec: str) -> None:
    """Also where it bears the name of one of the standard library that was imported before."""
    import cProfile  # imports profile as well

    assert "profile" in sys.modules and cProfile
    (beside / path).parent.mkdir(exist_ok=True)
    (beside / path).write_text(JOB)
    cls = load_job(spec, beside)
    assert sys.modules[cls.__module__].__file__ == str(beside / path)
    assert load_job(spec, beside) is cls


def test_a_module_may_import_its_neighbors(beside: Path) -> None:
    (beside / "lookup_tables.py").write_text("NAMES = {}")
    (beside / "jobs.py").write_text("import lookup_tables\n" + JOB)
    assert load_job("jobs:Profile", beside).__name__ == "Profile"


def test_a_directory_named_as_drtc_does_not_replace_drtc(beside: Path) -> None:
    (beside / "drtc").mkdir()
    (beside / "drtc" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    assert load_job("drtc.examples.flights:Flights", beside).__name__ == "Flights"
    assert sys.modules["drtc"] is drtc


@pytest.mark.parametrize("spec, text, sentence", [
    ("jobs", JOB, "[job] class = jobs: name the Job as module:Class, such as profile:Profile"),
    ("job:Profile", JOB, "which is neither in {base} nor installed (did you mean jobs?)"),
    ("jobs.inner:Profile", JOB, "[job] class names the module jobs.inner, which is neither in"),
    ("jobs:profile", JOB, "[job] class = jobs:profile: {base}/jobs.py has no class profile (did you mean Profile?)"),
    ("jobs:drtc", JOB, "[job] class = jobs:drtc: drtc is not a subclass of drtc.Job"),
    ("jobs:Profile", "import drtc\nx = 1 / 0\n" + JOB, "[job] class: {base}/jobs.py line 2 raises ZeroDivisionError: "),
    ("jobs:Profile", "import missing_module\n" + JOB, "[job] class: {base}/jobs.py line 1 raises ModuleNotFoundError: "
                                                      "No module named 'missing_module'"),
    ("jobs:Profile", "def broken(:\n", "[job] class: {base}/jobs.py line 1 raises SyntaxError: "),
    ("jobs:Profile", "raise SystemExit\n", "[job] class: {base}/jobs.py line 1 raises SystemExit"),
    ("jobs:Profile", "import drtc\nw = drtc.Session(gap=1)\n",
     "line 2 raises AttributeError: module 'drtc' has no attribute 'Session', which this version does not have yet"),
    ("jobs:Profile", "import drtc\nw = drtc.Tumbling()\n", "a Tumbling window needs lengths of at least a millisecond"),
    ("jobs:Profile", JOB.replace("def map", "def nap"), "Profile defines neither map nor run"),
])
def test_a_job_that_cannot_be_loaded_is_one_sentence(beside: Path, spec: str, text: str, sentence: str) -> None:
    (beside / "jobs.py").write_text(text)
    with pytest.raises(JobError) as caught:
        load_job(spec, beside)
    assert sentence.format(base=beside) in str(caught.value)
    assert "\n" not in str(caught.value)


CAMPAIGNS = """\
import json

import drtc


class AdEvent(drtc.Event):
    ad_id: str
    event_type: str
    event_time: int  # milliseconds


class CampaignViews(drtc.Job):
    decode = drtc.json(AdEvent)
    time = drtc.millis("event_time")
    window = drtc.Tumbling(seconds=10)

    views = drtc.Count()

    def open(self, context):
        with open(context.options["campaigns"]) as file:
            self.campaign = json.load(file)

    def map(self, event):
        if event.event_type == "view":
            yield self.campaign[event.ad_id], {"views": 1}
"""


def test_a_job_as_users_write_it(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (beside / "campaigns.py").write_text(CAMPAIGNS)
    (beside / "ads.json").write_text('{"ad": "campaign"}')
    monkeypatch.chdir(os.sep)
    spec = describe(load_job("campaigns:CampaignViews", beside))
    views = spec.cls()
    views.open(Context({"campaigns": "ads.json"}, "campaign_views_v1", beside, 0))
    event, other = spec.codec.decode_many([
        b'{"ad_id": "ad", "event_type": "view", "event_time": 1700000003500, "more": 1}',
        b'{"ad_id": "ad", "event_type": "click", "event_time": 0}'])
    read = spec.bind(views)
    assert read is not None and spec.window is not None
    assert list(views.map(event) or ()) == [("campaign", {"views": 1})]
    assert list(views.map(other) or ()) == []
    assert spec.window.bounds(spec.window.index(read(event))) == (1700000000, 1700000010)
    assert spec.name == "campaign_views"
