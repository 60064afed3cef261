/**
 * The steps of a lock in Redis, one script each. Keys of one lock share a slot:
 *
 * - `h` the exclusive holder, `fence/owner`, for its ttl; `g` the same for who was let pass beside a holder
 * - `r` sorted set of readers by their deadlines
 * - `q` sorted set of waiters by virtual time; `w` hash: what is known of each waiter, and each reader's fence
 * - `f` the last fence issued, for 24 hours; an `a` behind it: put there by an adopted lease
 *
 * @since 0.1.0
 */
import { type Script, script } from "../Redis.ts"

const names = `
local H, F, Q, W, R, G = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local call = redis.call
`

// what most steps are done without: to make these functions takes longer than to free a lock
const common = `
local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

local function ownerOf(held) return held and string.match(held, '/(.*)$') end
local function fenceOf(held) return string.match(held, '^[^/]*') end
local function holds(key, owner)
  local held = call('GET', key)
  return held and ownerOf(held) == owner and fenceOf(held)
end
local function keep(key, ms) if call('PTTL', key) < ms then call('PEXPIRE', key, ms) end end
local function last() return tonumber(string.match(call('GET', F) or '0', '^%d+')) end
local function digits(n) return string.format('%.0f', n) end

local function grant(owner, mode, guest, ttl, block, above)
  local n = math.max(last() + 1, micros, above + 1)
  call('SET', F, digits(n + block - 1), 'PX', 86400000)
  if guest then call('SET', G, digits(n) .. '/' .. owner, 'PX', ttl)
  elseif mode == 'X' then call('SET', H, digits(n) .. '/' .. owner, 'PX', ttl)
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
  local held = call('GET', H)
  if held and ownerOf(held) ~= beside then wait = math.max(wait, 1, call('PTTL', H)) end
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

local function leave(owner)
  if holds(H, owner) then return call('DEL', H) == 1 end
  if holds(G, owner) then return call('DEL', G) == 1 end
  local deadline = call('ZSCORE', R, owner)
  if deadline then
    call('ZREM', R, owner)
    call('HDEL', W, owner)
    return tonumber(deadline) > now
  end
  forget(owner)
  return false
end
`

/**
 * Grants, or puts in line: `{1, fence}` or `{0, TIME, ms}`. Idempotent by owner. Arguments: owner, mode, virtual time less
 * the time of sending, ttl, ttl until a pushed grant is claimed, fences to reserve, the waiter's own lease, how long it
 * yields to readers, the last fence used, inbox, beside whom, who is to leave in the same step.
 *
 * @since 0.1.0
 * @category scripts
 */
export const acquire: Script = script(`${names}
local value = call('GET', H)
local free = not value or ARGV[12] ~= '' and string.sub(value, string.find(value, '/', 1, true) + 1) == ARGV[12]
if free and ARGV[2] == 'X' and ARGV[11] == '' and call('EXISTS', G, R, Q) == 0 then
  local time, last = call('TIME'), call('GET', F)
  local n = time[1] * 1000000 + time[2]
  local least = math.max(last and string.match(last, '^%d+') or 0, ARGV[9]) + 1
  local fence
  if n >= least then fence = time[1] .. string.sub(1000000 + time[2], 2)
  else
    n = least
    fence = string.format('%.0f', n)
  end
  call('SET', F, ARGV[6] == '1' and fence or string.format('%.0f', n + ARGV[6] - 1), 'PX', 86400000)
  call('SET', H, fence .. '/' .. ARGV[1], 'PX', ARGV[4])
  return {1, fence}
end
${common}
local owner, mode, ttl, block, above = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[9])
local beside, old = ARGV[11], ARGV[12]
if old ~= '' then leave(old) end
if beside == '' then
  if mode == 'X' and call('EXISTS', H, G, R, Q) == 0 or mode == 'S' and call('EXISTS', H, G, Q) == 0 then
    return {1, grant(owner, mode, false, ttl, block, above)}
  end
end
for _, key in ipairs({H, G}) do
  local fence = holds(key, owner)
  if fence then
    call('PEXPIRE', key, ttl)
    return {1, fence}
  end
end
purge()
if call('ZSCORE', R, owner) then return {1, grant(owner, mode, false, ttl, block, above)} end

local lease, yields = tonumber(ARGV[7]), tonumber(ARGV[8])
call('ZADD', Q, 'NX', beside == '' and digits(now + ARGV[3]) or '0', owner)
call('HSET', W, owner, table.concat({
  mode, digits(now + lease), digits(yields > 0 and now + yields or 0), ARGV[5], ARGV[6], ARGV[9], ARGV[10], beside
}, '|'))
keep(Q, lease)
keep(W, lease)
local fence = handOver(owner, ttl)
if fence then return {1, fence} end

if mode == 'X' and yields <= 0 then
  -- processes that read are to let nobody else in
  for _, reader in ipairs(call('ZRANGE', R, 0, -1)) do
    local inbox = string.match(reader, '^(lk:.*)%.')
    if inbox then call('PUBLISH', inbox, 'c|' .. reader) end
  end
end
local wait = blocked(mode, beside)
if yields > 0 then wait = math.min(wait, yields) end
return {0, digits(now), wait}
`)

/**
 * Ends a hold or a wait, and hands over: 1 when it was held. Arguments: owner.
 *
 * @since 0.1.0
 * @category scripts
 */
export const release: Script = script(`${names}
if string.sub(ARGV[1], 1, 2) == 't:' then
  local fence = call('GET', F)
  if fence and string.sub(fence, -1) == 'a' then call('SET', F, string.sub(fence, 1, -2), 'KEEPTTL') end
end
local value = call('GET', H)
if value and call('EXISTS', Q) == 0 and string.sub(value, string.find(value, '/', 1, true) + 1) == ARGV[1] then
  return call('DEL', H)
end
${common}
local held = leave(ARGV[1])
if call('EXISTS', Q) == 1 then handOver() end
return held and 1 or 0
`)

/**
 * Prolongs a hold: `{1, mode, fence, whether a writer waits}` or `{0}`. Arguments: owner, ttl.
 *
 * @since 0.1.0
 * @category scripts
 */
export const renew: Script = script(`${names}${common}
local owner, ttl = ARGV[1], tonumber(ARGV[2])
for _, key in ipairs({H, G}) do
  local fence = holds(key, owner)
  if fence then
    call('PEXPIRE', key, ttl)
    return {1, 'X', fence, 0}
  end
end
purge()
if not call('ZSCORE', R, owner) then return {0} end
call('ZADD', R, now + ttl, owner)
keep(R, ttl)
keep(W, ttl)
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
export const adopt: Script = script(`${names}${common}
local owner, mode, ttl, fence = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local known = call('GET', F)
if ttl <= 0 or known and last() >= fence and string.sub(known, -1) ~= 'a' then return 0 end
purge()
if holds(H, owner) or holds(G, owner) or call('ZSCORE', R, owner) then return 0 end
if blocked(mode, '') > 0 then return 0 end
if mode == 'X' then call('SET', H, ARGV[4] .. '/' .. owner, 'PX', ttl)
else
  call('ZADD', R, now + ttl, owner)
  call('HSET', W, owner, ARGV[4])
  keep(R, ttl)
  keep(W, ttl)
end
call('SET', F, digits(math.max(last(), fence)) .. 'a', 'PX', 86400000)
return 1
`)

/**
 * All that hold: `owner, mode, fence, milliseconds left` each.
 *
 * @since 0.1.0
 * @category scripts
 */
export const holders: Script = script(`${names}${common}
local all = {}
for _, key in ipairs({H, G}) do
  local held = call('GET', key)
  if held then
    for _, part in ipairs({ownerOf(held), 'X', fenceOf(held), call('PTTL', key)}) do table.insert(all, part) end
  end
end
local readers = call('ZRANGEBYSCORE', R, '(' .. now, '+inf', 'WITHSCORES')
for i = 1, #readers, 2 do
  for _, part in ipairs({readers[i], 'S', call('HGET', W, readers[i]) or '0', readers[i + 1] - now}) do
    table.insert(all, part)
  end
end
return all
`)
