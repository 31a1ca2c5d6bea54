"""The sockets that a role listens on: bound here, and every connection taken in one by one, so that a stranger is
counted before it costs anything, its TLS handshake included."""
from __future__ import annotations

import asyncio
import errno
import socket
from typing import Callable

BACKLOG = 128  # connections that the kernel keeps for us
PAUSE = 0.5  # seconds, where the process has no file descriptor left
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # a name may stand for an address that this machine lacks


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at all addresses of ``host``, on one port; port 0: any free one.

    Raises:
        OSError: it is taken, or none of the addresses is ours.
    """
    servers: list[socket.socket] = []
    missing: OSError | None = None
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            server = socket.create_server((address[0], port, *address[2:]), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno not in _ABSENT:
                for server in servers:
                    server.close()
                raise
            missing = error
            continue
        server.setblocking(False)
        port = server.getsockname()[1]
        servers.append(server)
    if not servers:
        raise missing or OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    return servers


async def accept(server: socket.socket, enter: Callable[[socket.socket, str, int], None],
                 say: Callable[[str], None]) -> None:
    """Calls ``enter(socket, host, port)`` for each connection until cancelled. ``say`` is told why none can be taken
    just now."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, address = await loop.sock_accept(server)
        except OSError as error:
            say(error.strerror or str(error))
            await asyncio.sleep(PAUSE)
            continue
        enter(sock, address[0], address[1])
        await asyncio.sleep(0)  # a flood of calls is not to keep us from those that are connected
