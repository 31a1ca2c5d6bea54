"""``membership = static``: roles at addresses that the INI file names. A node's name is its address."""
from __future__ import annotations

from typing import Sequence

from ..values import Address
from .membership import Member, Membership


class Static(Membership):
    """Whether anybody is there is not known: whoever connects finds out."""

    def __init__(self, coordinators: Sequence[Address], computes: Sequence[Address]) -> None:
        self._addresses = {"coordinator": coordinators, "compute": computes}

    def join(self, member: Member) -> None:
        pass  # the INI file has joined us already

    def members(self, role: str) -> list[Member]:
        return [Member(role, str(address), str(address), 1.0, "", 0.0) for address in self._addresses.get(role, ())]

    def leave(self) -> None:
        pass
