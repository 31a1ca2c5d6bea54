"""Who may talk: the proof of the shared secret, and where a role may listen.

Each side proves that it knows the secret by an HMAC-SHA256 over both sides' fresh nonces, so that a recorded proof is
worth nothing. Without a secret the proofs are empty and only loopback is listened on.
"""
from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket

from ..errors import ClusterError


def prove(secret: str, side: str, theirs: bytes, ours: bytes, *about: str) -> bytes:
    """The proof of one side (``client`` or ``server``) over both nonces and what it claims to be."""
    if not secret:
        return b""
    parts = [side.encode(), theirs, ours, *(word.encode() for word in about)]
    text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(secret.encode(), text, hashlib.sha256).digest()


def same(proof: bytes, expected: bytes) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(proof, expected)


def check_listen(host: str, secret: str) -> None:
    """Refuses to listen where strangers could connect.

    Raises:
        ClusterError: ``host`` is beyond loopback and there is no secret, or nobody knows it.
    """
    if not is_loopback(host) and not secret:
        raise ClusterError(f"refusing to listen on {host} without a secret: set [cluster] secret (better: the "
                           "environment's DRTC_CLUSTER_SECRET) on every node, or listen on 127.0.0.1")


def is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"the host {host!r} is not known here: {reason}") from error
    return all(ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_loopback for entry in found)
