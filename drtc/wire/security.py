"""Who may talk: the proof of the shared secret, and where a role may listen.

Each side proves that it knows the secret by an HMAC-SHA256 over both sides' fresh nonces, so that a recorded proof is
worth nothing, and over which side it is, so that one sent back is not, either. Without a secret the proofs are empty,
and beyond loopback callers have to show a certificate. docs/security.md says what that holds against.
"""
from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket

from ..errors import ClusterError

SHORTEST = 16  # characters: whoever lures a role to a listener of his own may guess its secret at leisure


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


def check_listen(host: str, secret: str, mutual: bool = False) -> None:
    """Refuses to listen where strangers could connect. ``mutual``: callers have to show a certificate.

    Raises:
        ClusterError: ``host`` is beyond loopback and there is no secret, or a short one; or nobody knows the host.
    """
    if is_loopback(host) or mutual:
        return
    if not secret:
        raise ClusterError(f"refusing to listen on {host} without a secret: set [cluster] secret (better: the "
                           "environment's DRTC_CLUSTER_SECRET) on every node, or tls_certificate, tls_key and tls_ca, "
                           "or listen on 127.0.0.1")
    if len(secret) < SHORTEST:
        raise ClusterError(f"refusing to listen on {host} with a secret of {len(secret)} characters, which can be "
                           f"guessed: give [cluster] secret at least {SHORTEST}, by chance (openssl rand -hex 32)")


def is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"the host {host!r} is not known here: {reason}") from error
    return all(ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_loopback for entry in found)
