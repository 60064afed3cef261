/**
 * The steps of a lock in Redis, one script each. Keys of one lock share a slot:
 *
 * - `s` the state: `<flags><first> <count>` is the last block of fences that was issued; while somebody holds exclusively,
 *   ` <deadline> <owner>` follows, and `first` is that holder's fence. Kept for 24 hours at least, so that fences rise.
 *   Flags: `*` there may be waiters, readers or a guest; `a` the last fence is that of an adopted lease
 * - `q` sorted set of waiters by virtual time; `w` hash: what is known of each waiter, and each reader's fence
 * - `r` sorted set of readers by their deadlines
 * - `g` the guest, `fence/owner`, for its ttl: who was let pass beside a holder
 *
 * While there is no flag, `s` is the whole truth: one read and one write grant or release, by a script that declares no other
 * key. To declare five costs as much as what it does.
 *
 * @since 0.1.0
 */
import { type Script, script } from "../../Redis.ts"

/**
 * In the order in which the scripts expect them.
 *
 * @since 0.1.0
 * @category scripts
 */
export const keyNames = ["s", "q", "w", "r", "g"] as const

// to make these functions takes longer than to grant or free a lock: what is done alone does without
const common = `
local S, Q, W, R, G = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call = redis.call
local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

local function digits(n) return string.format('%.0f', n) end

local adopted, first, count, deadline, holder = false, 0, 1, 0, nil
do
  local flags, f, c, d, o = string.match(call('GET', S) or '', '^([*a]*)(%d+) (%d+) ?(%d*) ?(.*)$')
  if f then
    adopted, first, count = string.find(flags, 'a', 1, true) ~= nil, tonumber(f), tonumber(c)
    if d ~= '' and tonumber(d) > now then deadline, holder = tonumber(d), o end
  end
end

local function store()
  local others = call('EXISTS', Q, R, G) > 0
  local value = (others and '*' or '') .. (adopted and 'a' or '') .. digits(first) .. ' ' .. digits(count)
  local ms = 86400000
  if holder then
    value = value .. ' ' .. digits(deadline) .. ' ' .. holder
    ms = math.max(ms, deadline - now)
  end
  -- R may have expired as a whole, and left the fences of its readers
  if others then ms = math.max(ms, call('PTTL', R), call('PTTL', G)) else call('DEL', W) end
  call('SET', S, value, 'PX', ms)
end

local function last() return first + count - 1 end
local function issue(n, block)
  -- the holder's fence stays the first
  if holder then count = n + block - first else first, count = n, block end
  adopted = false
end

local function ownerOf(guest) return guest and string.match(guest, '/(.*)$') end
local function fenceOf(guest) return string.match(guest, '^[^/]*') end
local function keep(key, ms) if call('PTTL', key) < ms then call('PEXPIRE', key, ms) end end

local function grant(owner, mode, guest, ttl, block, above)
  local n = math.max(last() + 1, micros, above + 1)
  issue(n, block)
  if guest then call('SET', G, digits(n) .. '/' .. owner, 'PX', ttl)
  elseif mode == 'X' then first, count, deadline, holder = n, block, now + ttl, owner
  else
    call('ZADD', R, now + ttl, owner)
    call('HSET', W, owner, digits(n))
    keep(R, ttl)
    keep(W, ttl)
  end
  return digits(n)
end

-- how long who is in the way may stay, in milliseconds; 0 when nobody is
local function blocked(mode, beside)
  local wait = 0
  local guest = call('PTTL', G)
  if guest ~= -2 then wait = math.max(1, guest) end
  if holder and holder ~= beside then wait = math.max(wait, 1, deadline - now) end
  if mode == 'X' then
    local readers = call('ZRANGEBYSCORE', R, '(' .. now, '+inf', 'WITHSCORES')
    for i = 1, #readers, 2 do
      if readers[i] ~= beside then wait = math.max(wait, 1, readers[i + 1] - now) end
    end
  end
  return wait
end

local function purge()
  for _, owner in ipairs(call('ZRANGEBYSCORE', R, '-inf', now)) do
    call('ZREM', R, owner)
    call('HDEL', W, owner)
  end
end

local function waiter(owner)
  local mode, deadline, yields, claim, block, above, inbox, beside =
    string.match(call('HGET', W, owner) or '', '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not mode or tonumber(deadline) < now then return nil end
  return mode, tonumber(yields), tonumber(claim), tonumber(block), tonumber(above), inbox, beside
end

local function forget(owner)
  call('ZREM', Q, owner)
  call('HDEL', W, owner)
end

-- grants whoever can be granted, in the order of virtual time; answers the fence if that is self
local function handOver(self, ttl)
  purge()
  local mine = nil
  local yielding = false
  for _, owner in ipairs(call('ZRANGE', Q, 0, -1)) do
    local mode, yields, claim, block, above, inbox, beside = waiter(owner)
    if not mode then forget(owner)
    else
      local guest = beside ~= ''
      local free = (guest or not (yielding and mode == 'X')) and blocked(mode, beside) == 0
      if free then
        forget(owner)
        if owner == self then mine = grant(owner, mode, guest, ttl, block, above)
        else
          local fence = grant(owner, mode, guest, claim, block, above)
          call('PUBLISH', inbox, 'g|' .. fence .. '|' .. digits(now) .. '|' .. claim .. '|' .. owner)
        end
        if guest or mode == 'X' then break end
      elseif mode == 'X' and yields > now then yielding = true
      elseif not guest then break
      end
    end
  end
  return mine
end

local function leave(owner, block, used)
  if holder == owner then
    -- fences that were not used are not lost; a guest's may have come after them
    if count == tonumber(block) then count = tonumber(used) end
    holder = nil
    return true
  end
  if ownerOf(call('GET', G)) == owner then return call('DEL', G) == 1 end
  local reads = call('ZSCORE', R, owner)
  if reads then
    call('ZREM', R, owner)
    call('HDEL', W, owner)
    return tonumber(reads) > now
  end
  forget(owner)
  return false
end
`

/**
 * Steps at locks that nobody else is at, one a key: it may be given several times. Each answers nothing when it cannot be
 * done so, and then it has changed nothing. Only the first key of a lock is needed. Arguments of a step:
 *
 * - to grant exclusively: ttl; the state that a hold has left which ends in the same step, or nothing; owner; fences to
 *   reserve; the last fence used. Answers the state, which begins with the fence.
 * - to end an exclusive hold: nothing; its state, which is still that of its grant; the state without it. Answers 1. Nobody
 *   looks at the time: what the state says is so until somebody else changes it.
 *
 * @since 0.1.0
 * @category scripts
 */
export const alone: Script = script(`
local answers, at, time = {}, 1, nil
for step, key in ipairs(KEYS) do
  local value, ttl, before = redis.call('GET', key), ARGV[at], ARGV[at + 1]
  answers[step] = false
  if ttl == '' then
    if value == before then
      redis.call('SET', key, ARGV[at + 2], 'KEEPTTL')
      answers[step] = 1
    end
    at = at + 3
  else
    local least = ARGV[at + 4] + 1
    local free = not value or value == before
    if not free and before == '' then
      local first, count = string.match(value, '^(%d+) (%d+)$')
      if first then free, least = true, math.max(least, first + count) end
    end
    if free then
      time = time or redis.call('TIME')
      local fence
      if time[1] * 1000000 + time[2] >= least then fence = time[1] .. string.sub(1000000 + time[2], 2)
      else fence = string.format('%.0f', least)
      end
      local deadline = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ttl)
      value = fence .. ' ' .. ARGV[at + 3] .. ' ' .. deadline .. ' ' .. ARGV[at + 2]
      -- for 24 hours after the hold, as its end leaves the time as it is
      redis.call('SET', key, value, 'PX', 86400000 + ttl)
      answers[step] = value
    end
    at = at + 5
  end
end
return answers
`)

/**
 * Grants, or puts in line: the fence, or `{TIME, ms}`. Idempotent by owner. Arguments: owner; mode, `X`, `S`, or that and `G`
 * for who passes beside a holder; ttl; fences to reserve; the last fence used; who is to leave in the same step; and
 * `virtual time less the time of sending|how long it yields to readers|ttl until a pushed grant is claimed|the waiter's own
 * lease|inbox|beside whom`; of who is to leave, how many fences were reserved, and how many were used.
 *
 * @since 0.1.0
 * @category scripts
 */
export const acquire: Script = script(`${common}
local owner, mode, ttl, block, above = ARGV[1], string.sub(ARGV[2], 1, 1), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local late, yields, claim, lease, inbox, beside = string.match(ARGV[7], '^(-?%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(.*)$')
yields, lease = tonumber(yields), tonumber(lease)
if ARGV[6] ~= '' then leave(ARGV[6], ARGV[8], ARGV[9]) end

local function attempt()
  purge()
  if beside == '' and not holder then
    if mode == 'X' and call('EXISTS', G, R, Q) == 0 or mode == 'S' and call('EXISTS', G, Q) == 0 then
      return grant(owner, mode, false, ttl, block, above)
    end
  end
  if holder == owner then
    deadline = now + ttl
    return digits(first)
  end
  local guest = call('GET', G)
  if ownerOf(guest) == owner then
    call('PEXPIRE', G, ttl)
    return fenceOf(guest)
  end
  if call('ZSCORE', R, owner) then return grant(owner, mode, false, ttl, block, above) end
  call('ZADD', Q, 'NX', beside == '' and digits(now + late) or '0', owner)
  call('HSET', W, owner, table.concat({
    mode, digits(now + lease), digits(yields > 0 and now + yields or 0), claim, ARGV[4], ARGV[5], inbox, beside
  }, '|'))
  keep(Q, lease)
  keep(W, lease)
  return handOver(owner, ttl)
end

local fence = attempt()
store()
if fence then return fence end

if mode == 'X' and yields <= 0 then
  -- processes that read are to let nobody else in
  for _, reader in ipairs(call('ZRANGE', R, 0, -1)) do
    local inbox = string.match(reader, '^(lk:.*)%.')
    if inbox then call('PUBLISH', inbox, 'c|' .. reader) end
  end
end
local wait = blocked(mode, beside)
if yields > 0 then wait = math.min(wait, yields) end
return {digits(now), wait}
`)

/**
 * Ends a hold or a wait, and hands over: 1 when it was held. Arguments: owner; how many fences were reserved, and how many
 * were used: empty when that is not known.
 *
 * @since 0.1.0
 * @category scripts
 */
export const release: Script = script(`${common}
if string.sub(ARGV[1], 1, 2) == 't:' then adopted = false end
local held = leave(ARGV[1], ARGV[2], ARGV[3])
if call('EXISTS', Q) == 1 then handOver() end
if first > 0 then store() end
return held and 1 or 0
`)

/**
 * Prolongs a hold: `{1, mode, fence, whether a writer waits}` or `{0}`. Arguments: owner, ttl.
 *
 * @since 0.1.0
 * @category scripts
 */
export const renew: Script = script(`${common}
local owner, ttl = ARGV[1], tonumber(ARGV[2])
if holder == owner then
  deadline = now + ttl
  store()
  return {1, 'X', digits(first), 0}
end
local guest = call('GET', G)
if ownerOf(guest) == owner then
  call('PEXPIRE', G, ttl)
  return {1, 'X', fenceOf(guest), 0}
end
purge()
if not call('ZSCORE', R, owner) then return {0} end
call('ZADD', R, now + ttl, owner)
keep(R, ttl)
keep(W, ttl)
keep(S, ttl)
local writer = 0
for _, other in ipairs(call('ZRANGE', Q, 0, -1)) do
  local mode, yields = waiter(other)
  if mode == 'X' and yields <= now then
    writer = 1
    break
  end
end
return {1, 'S', call('HGET', W, owner), writer}
`)

/**
 * Puts a hold back that this server has forgotten: 1 when it did. What it remembers to have ended stays so. Arguments:
 * owner, mode, ttl, fence.
 *
 * @since 0.1.0
 * @category scripts
 */
export const adopt: Script = script(`${common}
local owner, mode, ttl, fence = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if ttl <= 0 or last() >= fence and not adopted then return 0 end
purge()
if holder == owner or ownerOf(call('GET', G)) == owner or call('ZSCORE', R, owner) then return 0 end
if blocked(mode, '') > 0 then return 0 end
-- a request that came late or twice may stand in line for it
forget(owner)
local least = math.max(last(), fence)
if mode == 'X' then first, count, deadline, holder = fence, least - fence + 1, now + ttl, owner
else
  call('ZADD', R, now + ttl, owner)
  call('HSET', W, owner, ARGV[4])
  keep(R, ttl)
  keep(W, ttl)
  if least > last() then first, count = fence, 1 end
end
adopted = true
store()
return 1
`)

/**
 * All that hold, `owner, mode, fence, milliseconds left` each, and all that wait, `owner, mode` each, in their order.
 *
 * @since 0.1.0
 * @category scripts
 */
export const holders: Script = script(`${common}
local all, waiting = {}, {}
local function add(list, ...) for _, part in ipairs({...}) do table.insert(list, part) end end
if holder then add(all, holder, 'X', digits(first), deadline - now) end
local guest = call('GET', G)
if guest then add(all, ownerOf(guest), 'X', fenceOf(guest), call('PTTL', G)) end
local readers = call('ZRANGEBYSCORE', R, '(' .. now, '+inf', 'WITHSCORES')
for i = 1, #readers, 2 do
  add(all, readers[i], 'S', call('HGET', W, readers[i]) or '0', readers[i + 1] - now)
end
for _, owner in ipairs(call('ZRANGE', Q, 0, -1)) do
  local mode = waiter(owner)
  if mode then add(waiting, owner, mode) end
end
return {all, waiting}
`)
