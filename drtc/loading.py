"""How ``[job] class = module:Class`` becomes a class."""
from __future__ import annotations

import sys
import traceback
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from .errors import JobError
from .names import did_you_mean

if TYPE_CHECKING:
    from .job import Job


def load_job(spec: str, base: Path) -> type[Job]:
    """The class that ``module:Class`` names, checked by ``describe``.

    A module beside the INI file (in ``base``) is preferred to an installed one of the same name, the standard
    library's included. ``base`` stays first on ``sys.path``, so the module may import its neighbors.

    Raises:
        JobError: no such module or class, not a Job, a module that cannot be imported, or what ``describe`` refuses.
    """
    from .job import Job, describe

    name, colon, attribute = spec.strip().partition(":")
    if not (colon and name and attribute):
        raise JobError(f"[job] class = {spec}: name the Job as module:Class, such as profile:Profile")
    module = _module(name, base.resolve())
    job = getattr(module, attribute, None)
    if job is None:
        jobs = [each for each, value in vars(module).items() if isinstance(value, type) and issubclass(value, Job)]
        raise JobError(f"[job] class = {spec}: {module.__file__} has no class {attribute}"
                       + did_you_mean(attribute, jobs))
    if not (isinstance(job, type) and issubclass(job, Job)):
        raise JobError(f"[job] class = {spec}: {attribute} is not a subclass of drtc.Job")
    describe(job)
    return job


def _module(name: str, base: Path) -> ModuleType:
    if sys.path[:1] != [str(base)]:
        sys.path.insert(0, str(base))
    invalidate_caches()
    _give_way(name.partition(".")[0], base)
    try:
        return import_module(name)
    except JobError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name + ".").startswith(error.name + "."):
            near = did_you_mean(name, sorted(path.stem for path in base.glob("*.py")))
            raise JobError(f"[job] class names the module {name}, which is neither in {base} nor installed{near}"
                           ) from error
        raise JobError(_raised(name, base, error)) from error
    except (Exception, SystemExit) as error:
        raise JobError(_raised(name, base, error)) from error


def _give_way(top: str, base: Path) -> None:
    """Forgets a module of that name that was imported from elsewhere, as ``profile`` of the standard library."""
    loaded = sys.modules.get(top)
    beside = PathFinder.find_spec(top, [str(base)])
    if loaded is None or beside is None or beside.origin is None or top == __package__:
        return
    known: ModuleSpec | None = getattr(loaded, "__spec__", None)
    if known is None or known.origin != beside.origin:
        for each in [each for each in sys.modules if each == top or each.startswith(top + ".")]:
            del sys.modules[each]


def _raised(name: str, base: Path, error: BaseException) -> str:
    """Names the exception and the user's own line, the innermost that lies in ``base``."""
    where = name
    if isinstance(error, SyntaxError):
        where = f"{error.filename} line {error.lineno}"
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(str(base)):
                where = f"{frame.filename} line {frame.lineno}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"[job] class: {where} raises {type(error).__name__}{': ' if text else ''}{text}"
