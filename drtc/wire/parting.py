"""How a role that listens takes leave of its peers, so that nothing is on its way to it when it closes."""
from __future__ import annotations

from typing import Iterable

from .messages import Draining
from .peer import Peer


class Parting:
    """Tells those who send that nothing new is taken, and knows who has not said yet that all of theirs is here.

    Their answer comes behind the last that they have sent, so what arrived before it is all there is.
    """

    def __init__(self) -> None:
        self._begun = False
        self._awaited: set[Peer] = set()

    def begin(self, peers: Iterable[Peer]) -> None:
        self._begun = True
        for peer in peers:
            self._tell(peer)

    def joined(self, peer: Peer) -> None:
        """One more sender. It may have sent something before it hears."""
        if self._begun:
            self._tell(peer)

    def _tell(self, peer: Peer) -> None:
        self._awaited.add(peer)
        peer.send(Draining())

    def answered(self, peer: Peer) -> None:
        self._awaited.discard(peer)

    def gone(self, peer: Peer) -> None:
        self._awaited.discard(peer)

    @property
    def over(self) -> bool:
        """Whether nothing is on its way any more."""
        return self._begun and not self._awaited
