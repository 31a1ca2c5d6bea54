"""What Redis does for us in one step: the Lua that saves on condition of versions, that loads and that deletes."""
from __future__ import annotations

from hashlib import sha1
from typing import Any, NamedTuple, Sequence

NO_VIEW = "DRTCNOVIEW"  # what a script answers where the view is not there, or another


class Script:
    """Lua; a server knows it by its SHA-1 once it has had it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode()).hexdigest()


class Command(NamedTuple):
    """``key``: any of its keys; says which node of a cluster is asked."""

    key: str
    words: Sequence[Any]


class Call(NamedTuple):
    """Keys, which all lie in one slot, and arguments for a script."""

    keys: Sequence[str]
    arguments: Sequence[Any]

    def command(self, word: str, script: str) -> Command:
        return Command(self.keys[0], [word, script, len(self.keys), *self.keys, *self.arguments])


_CHECK = f"if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('{NO_VIEW} no such view') end\n"

#: KEYS: the view, its ids, records. ARGV: what the view is, the fields' names, for each record its version and values.
#: Returns which of the records had another version, from 0.
SAVE = Script(_CHECK + """\
local names = cmsgpack.unpack(ARGV[2])
local width, before, moved = #names, #KEYS[1] + 2, {}
for i = 3, #KEYS do
  local row = cmsgpack.unpack(ARGV[i])
  local there = redis.call('HGET', KEYS[i], 'drtc_version')
  if (there or '0') ~= row[1] then
    moved[#moved + 1] = i - 3
  else
    local set, gone = {}, {}
    for at = 1, width do
      local value = row[at + 1]
      if value then
        set[#set + 1] = names[at]
        set[#set + 1] = value
      else
        gone[#gone + 1] = names[at]
      end
    end
    -- HSET is the first that writes: a server whose memory is full lets a script go on that has begun with HDEL
    redis.call('HSET', KEYS[i], unpack(set))
    if not there then
      redis.call('ZADD', KEYS[2], 0, string.sub(KEYS[i], before))
    elseif #gone > 0 then
      redis.call('HDEL', KEYS[i], unpack(gone))
    end
  end
end
return moved
""")

#: KEYS: the view, records. ARGV: what the view is, the fields' names. Returns each record's values.
LOAD = Script(_CHECK + """\
local found = {}
for i = 2, #KEYS do
  found[i - 1] = redis.call('HMGET', KEYS[i], unpack(ARGV, 2))
end
return found
""")

#: KEYS: the view, its ids, records.
DELETE = Script("""\
local before = #KEYS[1] + 2
for i = 3, #KEYS do
  redis.call('UNLINK', KEYS[i])
  redis.call('ZREM', KEYS[2], string.sub(KEYS[i], before))
end
""")
