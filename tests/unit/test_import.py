from __future__ import annotations

import subprocess
import sys

import pytest

import drtc

OPTIONAL = ("kafka", "datasketches", "numpy", "crc32c", "lz4", "zstandard", "snappy", "uvloop", "psutil", "polars",
            "aerospike", "cassandra", "click", "elastic_transport", "rich", "asyncio", "pymongo", "bson",
            "psycopg", "redis", "sqlite3")


def imported_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running the code."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"],
                          capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_drtc_is_light() -> None:
    assert not imported_by("import drtc") & {*OPTIONAL, "msgspec", "msgpack"}


def test_a_job_needs_no_optional_client() -> None:
    everything = ", ".join(f"drtc.{name}" for name in drtc.__all__ if name not in ("Distinct", "TopK", "Quantiles"))
    assert not imported_by(f"import drtc; {everything}; drtc.TopK") & {*OPTIONAL}


@pytest.mark.parametrize("name", drtc.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(drtc, name).__name__ == name
    assert name in dir(drtc)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'drtc' has no attribute 'Cuont'"):
        drtc.Cuont
    assert not hasattr(drtc, "Session")


def test_the_public_names_are_what_they_say() -> None:
    assert drtc.json.__module__ == "drtc.codecs.json" and callable(drtc.json)
    assert drtc.__version__.count(".") == 2
