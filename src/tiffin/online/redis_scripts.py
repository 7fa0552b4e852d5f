"""What Redis does by itself, in one step that nothing comes between.

Ranks are compared as bytes. Lua's ``<`` on strings is no such comparison: it follows the locale that the server was
started in. So a rank is read as numbers of six bytes, which a double holds exactly. Nothing of a caller stands in a
script's text: keys and values are its arguments.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final


class Script:
    """A script's text, and the hash by which a server that has it knows it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()


#: KEYS are rows, ARGV the span in milliseconds after which a row may be forgotten (empty for never), then a value a
#: key. Answers how many were stored. An event time is microseconds + 2^63: its upper half in seconds and its lower half
#: are exact, and the instant is rounded up. A row that is past its time is replaced and forgotten at once.
WRITE: Final = Script("""
local span = tonumber(ARGV[1])
local function newer(value, held)
  local a, b, c, d, e, f = struct.unpack('>I6I6I6I6I6I2', value)
  local g, h, i, j, k, l = struct.unpack('>I6I6I6I6I6I2', held)
  if a ~= g then return a > g end
  if b ~= h then return b > h end
  if c ~= i then return c > i end
  if d ~= j then return d > j end
  if e ~= k then return e > k end
  return f >= l
end
local written = 0
for n, key in ipairs(KEYS) do
  local value = ARGV[n + 1]
  local held = redis.call('GETRANGE', key, 0, 31)
  if #held < 32 or newer(value, held) then
    written = written + 1
    if span then
      local high, low = struct.unpack('>I4I4', value)
      local expire = math.ceil((high - 2147483648) * 4294967.296 + low / 1000) + 1 + span
      if expire > 0 then
        redis.call('SET', key, value, 'PXAT', string.format('%.0f', expire))
      else
        redis.call('DEL', key)
      end
    else
      redis.call('SET', key, value)
    end
  end
end
return written
""")

#: KEYS: the layouts; ARGV: a layout. Answers its number.
ENSURE: Final = Script("""
local found = redis.call('LPOS', KEYS[1], ARGV[1])
if found then return found end
return redis.call('RPUSH', KEYS[1], ARGV[1]) - 1
""")

#: KEYS are rows, ARGV a value a key. Forgets those whose value is just that; answers how many.
DELETE_IF: Final = Script("""
local deleted = 0
for n, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[n] then
    deleted = deleted + redis.call('DEL', key)
  end
end
return deleted
""")

#: KEYS: the mark; ARGV: the old and the new one. Answers whether it was replaced.
REPLACE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""")
