"""The input of the benchmarks, made of columns of random numbers, and the true answers, computed from those columns.

Truth never looks at the messages, so that no decoder is checked with a decoder. Equal arguments give equal messages.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np

ADS, ADS_OF_CAMPAIGN, USERS, ADDRESSES = 1_000, 10, 100_000, 50_000
AD_TYPES = ("banner", "modal", "sponsored-search", "mail", "mobile")
EVENT_TYPES = ("view", "click", "purchase")
EVENTS_PER_SECOND = 10_000  # of event time
LATEST_MS = 100  # an event may be so much older than its place in the stream
WINDOW_MS = 10_000
EPOCH_MS = 1_700_000_000_000  # the beginning of a window
PARTITIONS = 2
CHUNK = 50_000

DEVICES, DOCS, RECENT = 50_000, 10_000, 20

CampaignTruth = dict[tuple[str, int], int]  # (campaign, start of the window in seconds) -> views
ProfileTruth = dict[str, tuple[int, int, list[str]]]  # device -> views, collects, the last documents


class Campaigns:
    """Events of the Yahoo streaming benchmark. Event ``i`` belongs in partition ``i % PARTITIONS``.

    Args:
        apart: a campaign's events are all in one partition, which lets its count tell how far the partition is.
    """

    def __init__(self, events: int, seed: int = 1, apart: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.events = events
        self.ad = rng.integers(0, ADS, events, dtype=np.int32)
        if apart:  # the parity of an ad's campaign is that of the partition
            self.ad = (self.ad // (2 * ADS_OF_CAMPAIGN) * 2 + np.arange(events) % 2) * ADS_OF_CAMPAIGN + \
                self.ad % ADS_OF_CAMPAIGN
        self.user, self.page = (rng.integers(0, USERS, events, dtype=np.int32) for _ in range(2))
        self.ad_type = rng.integers(0, len(AD_TYPES), events, dtype=np.int8)
        self.event_type = rng.integers(0, len(EVENT_TYPES), events, dtype=np.int8)
        self.address = rng.integers(0, ADDRESSES, events, dtype=np.int32)
        place = np.arange(events, dtype=np.int64) * 1000 // EVENTS_PER_SECOND
        self.time = EPOCH_MS + np.maximum(0, place - rng.integers(0, LATEST_MS + 1, events))
        self._users, self._pages = _uuids(rng, USERS), _uuids(rng, USERS)
        self._ads = _uuids(rng, ADS)
        self._campaigns = _uuids(rng, ADS // ADS_OF_CAMPAIGN)
        self._addresses = [b"%d.%d.%d.%d" % tuple(each) for each in rng.integers(1, 255, (ADDRESSES, 4)).tolist()]

    @property
    def viewed(self) -> Any:
        """Which events are views: a column of booleans."""
        return self.event_type == EVENT_TYPES.index("view")

    def partition_of(self, campaign: str) -> int:
        """Where the campaign's events are, if they are kept ``apart``."""
        return self._campaigns.index(campaign.encode()) % 2

    def table(self) -> dict[str, str]:
        """The campaign of each ad."""
        return {ad.decode(): self._campaigns[i // ADS_OF_CAMPAIGN].decode() for i, ad in enumerate(self._ads)}

    def chunks(self) -> Iterator[list[bytes]]:
        """All messages in order, in lists of ``CHUNK``."""
        users = [b'{"user_id":"%b","page_id":"' % user for user in self._users]
        pages = [b'%b","ad_id":"' % page for page in self._pages]
        ads = [b'%b","ad_type":"' % ad for ad in self._ads]
        types = [b'%b","event_type":"%b","event_time":' % (ad_type.encode(), event_type.encode())
                 for ad_type in AD_TYPES for event_type in EVENT_TYPES]
        addresses = [b',"ip_address":"%b"}' % address for address in self._addresses]
        join = b"".join
        kind = self.ad_type.astype(np.int16) * len(EVENT_TYPES) + self.event_type
        for start in range(0, self.events, CHUNK):
            here = slice(start, start + CHUNK)
            yield [join((users[user], pages[page], ads[ad], types[type], b"%d" % time, addresses[address]))
                   for user, page, ad, type, time, address in zip(
                       self.user[here].tolist(), self.page[here].tolist(), self.ad[here].tolist(),
                       kind[here].tolist(), self.time[here].tolist(), self.address[here].tolist())]

    def truth(self, events: int | None = None) -> CampaignTruth:
        """Views of each campaign and window, of all events or of the first so many."""
        viewed = self.viewed[:events]
        campaign = self.ad[:events][viewed] // ADS_OF_CAMPAIGN
        window = self.time[:events][viewed] // WINDOW_MS
        first = EPOCH_MS // WINDOW_MS
        both, counts = np.unique((window - first) * len(self._campaigns) + campaign, return_counts=True)
        return {
            (self._campaigns[each % len(self._campaigns)].decode(),
             (first + each // len(self._campaigns)) * WINDOW_MS // 1000): count
            for each, count in zip(both.tolist(), counts.tolist())
        }


class Actions:
    """Lines ``device,doc,type,timestamp``: devices with Zipf(1.0) popularity, one action in five a ``collect``."""

    def __init__(self, lines: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.lines = lines
        weight = 1 / np.arange(1, DEVICES + 1)
        rank = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(lines)).clip(max=DEVICES - 1)
        self.device = rng.permutation(DEVICES)[rank]  # a device's number says nothing of its popularity
        self.doc = rng.integers(0, DOCS, lines)
        self.collect = rng.random(lines) < 0.2
        self.time = EPOCH_MS / 1000 + np.arange(lines) / EVENTS_PER_SECOND

    def write(self, path: Path) -> None:
        devices, docs = self._names()
        with open(path, "w") as file:
            for start in range(0, self.lines, CHUNK):
                here = slice(start, start + CHUNK)
                file.write("".join(
                    f"{devices[device]},{docs[doc]},{'collect' if collect else 'view'},{time:.4f}\n"
                    for device, doc, collect, time in zip(self.device[here].tolist(), self.doc[here].tolist(),
                                                          self.collect[here].tolist(), self.time[here].tolist())))

    def truth(self) -> ProfileTruth:
        devices, docs = self._names()
        total = np.bincount(self.device, minlength=DEVICES)
        collects = np.bincount(self.device[self.collect], minlength=DEVICES).tolist()
        by_device = np.argsort(self.device, kind="stable")  # the lines of each device, in order
        ends = np.cumsum(total).tolist()
        answer: ProfileTruth = {}
        for number, count in enumerate(total.tolist()):
            if count:
                last = self.doc[by_device[ends[number] - min(count, RECENT):ends[number]]].tolist()
                answer[devices[number]] = (count - collects[number], collects[number], [docs[doc] for doc in last])
        return answer

    @staticmethod
    def _names() -> tuple[Sequence[str], Sequence[str]]:
        return [f"dev{number:05}" for number in range(DEVICES)], [f"doc{number:05}" for number in range(DOCS)]


def write_table(campaigns: Campaigns, path: Path) -> None:
    """The campaign of each ad, as the job reads it."""
    path.write_text(json.dumps(campaigns.table()))


def _uuids(rng: Any, count: int) -> list[bytes]:
    digits = rng.bytes(16 * count).hex()
    return ["-".join((each[:8], each[8:12], f"4{each[13:16]}", f"8{each[17:20]}", each[20:])).encode()
            for each in (digits[at:at + 32] for at in range(0, len(digits), 32))]
