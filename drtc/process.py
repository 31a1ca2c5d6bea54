"""A process of drtc: one event loop, its signals, and the roles that live on it."""
from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from typing import Any, Sequence

from .memory import keep_large_buffers
from .role import Role

ORPHAN_SECONDS = 5.0  # for a drain whose supervisor is gone: it may be started again at any moment


def run(*roles: Role) -> None:
    """Runs roles on the fastest event loop there is, until all have ended.

    SIGINT and SIGTERM drain them one after another, in this order: who sends before who takes. A second signal ends
    them at once. A role that ends lets those behind it drain; one that fails, all others.

    Raises:
        DrtcError: the first failure; its sentence says why.
    """
    keep_large_buffers()
    factory = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        pass
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_Process(roles).run())


class _Process:
    def __init__(self, roles: Sequence[Role]) -> None:
        self._roles = list(roles)
        self._living: list[Role] = list(roles)  # in the order of their drains
        self._signals = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        if "DRTC_SUPERVISED" in os.environ:
            loop.add_reader(0, self._orphaned)
        failures: list[BaseException] = []
        await asyncio.gather(*(self._live(role, failures) for role in reversed(self._roles)))
        if failures:
            raise failures[0]

    async def _live(self, role: Role, failures: list[BaseException]) -> None:
        try:
            await role.live()
        except Exception as error:
            failures.append(error)
        behind = self._living[self._living.index(role) + 1:]
        self._living.remove(role)
        for other in self._living if failures else behind[:1]:
            other.asked_to_drain(after=role.node)

    def _signalled(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            for role in self._living:
                role.log.warning("stopping at once")
                role.kill()
            sys.stderr.flush()
            os._exit(128 + number)
        for role in self._living[:1]:
            role.asked_to_drain(signal=signal.Signals(number).name)

    def _orphaned(self) -> None:
        """Our end of the supervisor's pipe has closed: it is dead, however it died."""
        asyncio.get_running_loop().remove_reader(0)
        for role in self._living:
            if not role.draining:
                role.log.warning("supervisor gone, draining")
                role.patience = ORPHAN_SECONDS
        for role in self._living[:1]:
            role.finish()

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake in drtc itself: never swallowed, the roles end with it."""
        error = context.get("exception")
        if isinstance(error, (ConnectionError, TimeoutError)) or (
                isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            self._roles[0].log.warning("connection error", why=str(error))
            return
        for role in self._living:
            role.fail(error if error is not None else RuntimeError(str(context.get("message"))))
