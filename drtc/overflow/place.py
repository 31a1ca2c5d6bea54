"""The directory of one queue: private, local, one owner; and the corner in it where damaged things are set aside.

    reserve          room to be given up when the disk is full
    lock             locked by its owner, with its process id
    mode             "cache" or "durable": a durable queue is not emptied by mistake
    era              how often the queue was made anew, so that numbers never come again
    queue/           the files of the queue
    damaged/         items that were set aside, and why
    damaged-TIME/    whole queues that were set aside
"""
from __future__ import annotations

import fcntl
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Iterator

from ..errors import QueueError
from ..observe.logs import Log

#: kinds of file systems on which SQLite's locks and shared memory do not hold
REMOTE = {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.cephfs", "fuse.davfs2",
          "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
          "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs"}
RESERVE_BYTES = 1 << 20
_ERA_BITS = 40  # numbers of one era: more than any queue will see
_MOUNTS = Path("/proc/self/mountinfo")


class Place:
    """The directory, locked for this process until ``close``.

    Raises:
        QueueError: it cannot be used, and the text says why and what to do.
    """

    def __init__(self, root: Path, durable: bool) -> None:
        self.root = root
        self.queue = root / "queue"
        self.damaged = root / "damaged"
        self.durable = durable
        self._reserved = False
        self._disposable = False  # until it is certain that what is there is a cache
        self.log = Log("overflow", directory=str(root))
        with _speaking(root):
            root.mkdir(0o700, parents=True, exist_ok=True)
            refuse_remote(root)
            self._refuse_strangers()
            self._lock = _locked(root)
        try:
            with _speaking(self.root):
                self._settle_mode()
                self._report()
        except BaseException:
            self.close()
            raise

    def begin(self) -> tuple[Path, int]:
        """An empty directory to make new files in, and the number of their first item."""
        with _speaking(self.root):
            era_file = self.root / "era"
            text = era_file.read_text().strip() if era_file.exists() else "0"
            if not text.isdecimal():
                raise QueueError(f"{era_file}: must hold a number, not {text[:20]!r}: remove {self.root} when nothing "
                                 "in it is needed")
            era = int(text) + 1
            self._write("era", f"{era}\n".encode())
            draft = self.root / "queue.new"
            if draft.exists():
                shutil.rmtree(draft)
            draft.mkdir(0o700)
        return draft, (era << _ERA_BITS) + 1

    def establish(self, draft: Path) -> None:
        """The new files are whole: from here on they are the queue."""
        with _speaking(self.root):
            self._settle(draft)
            os.rename(draft, self.queue)
            self._settle(self.root, self.root.parent)

    def keep(self, number: int, content: bytes, reason: str) -> None:
        """Sets an item aside: ``damaged/NUMBER.item``, and the reason beside it. A full disk only loses the copy."""
        try:
            self.damaged.mkdir(0o700, exist_ok=True)
            self._write(f"damaged/{number}.item", content)
            self._write(f"damaged/{number}.reason", f"{reason}\n".encode())
        except OSError as error:
            self.log.error("damaged item not copied", number=number, why=str(error))

    def set_aside(self) -> Path:
        """Puts the whole queue out of the way and returns where it is now."""
        with _speaking(self.root):
            now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            kept = self.root / f"damaged-{now}"
            os.rename(self.queue, kept)
            self._settle(self.root)
        return kept

    def reserve(self) -> None:
        """Takes a little room, to be given up when the disk is full and something must be written all the same."""
        if self._reserved:
            return
        try:
            with open(self.root / "reserve", "wb", opener=_private) as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self._reserved = True
        except OSError:
            self.release()

    def release(self) -> None:
        """Gives that room up."""
        self._reserved = False
        with suppress(OSError):
            (self.root / "reserve").unlink()

    def close(self) -> None:
        """Lets another process have it. Of a cache nothing is left."""
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            self.release()
            if self._disposable:
                shutil.rmtree(self.queue, ignore_errors=True)
            os.close(lock)

    def _refuse_strangers(self) -> None:
        found = os.stat(self.root)
        if found.st_uid != os.geteuid():
            raise QueueError(f"{self.root}: this directory belongs to another user: set another directory")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise QueueError(f"{self.root}: others may read or write this directory: chmod 700 it, or set "
                             "another directory")

    def _settle_mode(self) -> None:
        mode = self.root / "mode"
        before = mode.read_text().strip() if mode.exists() else ""
        now = "durable" if self.durable else "cache"
        if self.queue.exists() and before != "cache":
            if now == "cache" or before != "durable":
                raise QueueError(f"{self.root}: this is a durable queue, which must not be emptied: set "
                                 "another directory, or remove this one when nothing in it is needed")
        elif self.queue.exists():
            shutil.rmtree(self.queue)  # what a cache held is sent again by its sources
        if before != now:
            self._write("mode", f"{now}\n".encode())
        self._disposable = not self.durable

    def _report(self) -> None:
        """Says at every start what lies set aside, until somebody takes it away."""
        items = len(list(self.damaged.glob("*.item"))) if self.damaged.is_dir() else 0
        queues = len(list(self.root.glob("damaged-*")))
        if items or queues:
            self.log.warning("damaged before, look at it and remove it", items=items, queues=queues)

    def _settle(self, *directories: Path) -> None:
        """In durable mode, puts the directories themselves on disk."""
        for directory in directories if self.durable else ():
            opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)

    def _write(self, name: str, content: bytes) -> None:
        """The file is there whole or not at all."""
        path = self.root / name
        draft = path.with_name(path.name + ".new")
        with open(draft, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            if self.durable:
                os.fsync(file.fileno())
        os.replace(draft, path)
        self._settle(path.parent)


@contextmanager
def alone(parent: Path) -> Iterator[None]:
    """While it lasts no other process opens or sweeps the directories in ``parent``."""
    with _speaking(parent):
        parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def sweep(parent: Path, own: Path) -> None:
    """Removes the caches that processes left which are gone: their names may never come again.

    To be called while ``alone``: a directory is nobody's for a moment before its owner has locked it.
    """
    for mode in parent.glob("*/mode"):
        root = mode.parent
        try:
            if root == own or mode.read_text().strip() != "cache":
                continue
            lock = _locked(root)
        except (OSError, QueueError):
            continue  # in use, or not ours
        try:
            if (root / "damaged").exists():
                shutil.rmtree(root / "queue", ignore_errors=True)
            else:
                shutil.rmtree(root, ignore_errors=True)
        finally:
            os.close(lock)


def refuse_remote(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raises QueueError where the path is on a network file system, as far as this machine can tell."""
    kind = file_system(path, mounts)
    if kind in REMOTE:
        raise QueueError(f"{path}: this is on a network file system ({kind}), which breaks the queue's files: set a "
                         "directory on a local disk")


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """What the path is on, such as ``ext4``; empty where that cannot be told."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real, kind, longest = os.path.realpath(path), "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = os.fsdecode(before.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
                            .encode("latin-1"))
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # a later mount hides an earlier one
            kind, longest = after.split()[0], len(point)
    return kind


def _locked(root: Path) -> int:
    """The descriptor of the lock file, locked; the lock ends with the process, however that ends."""
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise QueueError(f"{root}: process {owner} uses this queue: stop it, or give this one another name or "
                         "another directory") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


@contextmanager
def _speaking(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise QueueError(f"{root}: the queue cannot lie here: {error.strerror}: set another directory") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
