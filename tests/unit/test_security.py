"""The proof of the secret: it depends on everything that it is about, and on which side makes it."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drtc.wire.messages import NONCE_BYTES
from drtc.wire.security import prove, same

nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
claims = st.tuples(st.text(min_size=1), st.sampled_from(["client", "server"]), nonces, nonces, st.lists(st.text()))


@given(claims, claims)
def test_a_proof_is_for_one_claim_alone(one: tuple[str, str, bytes, bytes, list[str]],
                                        other: tuple[str, str, bytes, bytes, list[str]]) -> None:
    (secret, side, theirs, ours, about), (secret2, side2, theirs2, ours2, about2) = one, other
    assert same(prove(secret, side, theirs, ours, *about), prove(secret2, side2, theirs2, ours2, *about2)) == (
        one == other)


def test_each_part_of_a_claim_counts() -> None:
    a, b = b"a" * NONCE_BYTES, b"b" * NONCE_BYTES
    whole = prove("secret", "client", a, b, "drtc", "node")
    assert whole not in (
        prove("secrets", "client", a, b, "drtc", "node"), prove("secret", "server", a, b, "drtc", "node"),
        prove("secret", "client", b, a, "drtc", "node"), prove("secret", "client", a, b, "drtcnode", ""),
        prove("secret", "client", a, b, "drtc", "node", ""), prove("secret", "client", a, b, "drtc", "nod"), b"")


def test_without_a_secret_nothing_is_proved() -> None:
    assert prove("", "client", b"", b"", "drtc") == b""
