"""``python -m drtc.reference`` prints docs/configuration.md, made from the dataclasses that hold the defaults."""
from __future__ import annotations

from dataclasses import MISSING
from typing import Iterator

from . import sources, stores
from .config import CLASSES, OPTIONS, ORDER
from .settings import comments_of, settings_of
from .values import describe, show

HEAD = """\
# Configuration

<!-- Made by `python -m drtc.reference > docs/configuration.md` from the dataclasses; edit their comments instead. -->

One INI file serves every role on every machine. A value comes from the last of these that gives it:

1. the default below,
2. the file: `key = value` under `[section]`,
3. the environment: `DRTC_SECTION_KEY`, such as `DRTC_CLUSTER_SECRET` or `DRTC_JOB_OPTIONS_REGION`,
4. the command line: `--set section.key=value`, as often as needed.

`drtc config -c FILE` prints every value in force and where it comes from, secrets masked.

- A line that begins with `;` or `#` is a comment; so is what follows ` ;` on a line.
- A relative path is relative to the directory of the file, and a Job's module is looked for there first.
- Sizes: `64K`, `256M`, `20G`, `1T` (powers of 1024) or plain bytes. Durations: `5`, `5s`, `100ms`, `2min`, `1h`, `7d`.
- Several values: separated by commas, or one a line, each line indented.
- An unknown section or key is an error, and so is a key given twice; all problems are reported together. An unknown
  `DRTC_...` variable is an error only where it looks like a misspelled key.

## [job.options]

Keys of your own, texts that the Job reads as `context.options` in `open(context)`.
"""


def pages() -> Iterator[str]:
    """The reference, section by section."""
    yield HEAD
    for section in ORDER:
        if section in CLASSES:
            yield _section(f"[{section}]", CLASSES[section])
        elif section != OPTIONS:
            registry = sources if section == "source" else stores
            for name in sorted(registry.own_names()):
                default = ", the default" if name == registry.DEFAULT else ""
                yield _section(f"[{section}] type = {name}{default}", registry.settings_class(name))


def _section(title: str, cls: type) -> str:
    lines = [f"## {title}", ""]
    words = " ".join((cls.__doc__ or "").split())
    if words and not words.startswith(f"{cls.__name__}("):  # dataclass writes a signature where there is no text
        lines += [words, ""]
    texts = comments_of(cls)
    lines += ["| key | default | value | meaning |", "|---|---|---|---|"]
    for each in settings_of(cls):
        default = "*must be given*" if each.default is MISSING else _code(show(each.default, each.hint))
        meaning = texts.get(each.attribute, "").replace("|", "\\|")
        lines.append(f"| `{each.key}` | {default} | {describe(each.hint)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def text() -> str:
    """The whole page."""
    return "\n".join(pages())


if __name__ == "__main__":
    print(text(), end="")
