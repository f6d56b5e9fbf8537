-- Functions of every script; shared/wire/scripts.py puts this file in front of each.

-- Acknowledges and deletes a stream's entry. Returns false when another consumer was first.
local function finish(stream, consumer_group, entry_id)
  if redis.call('XACK', stream, consumer_group, entry_id) == 0 then return false end
  redis.call('XDEL', stream, entry_id)
  return true
end

-- How often an entry that is not finished was delivered to a consumer.
local function deliveries(stream, consumer_group, entry_id)
  local pending = redis.call('XPENDING', stream, consumer_group, entry_id, entry_id, 1)[1]
  return pending and pending[4] or 0
end

-- Deletes the images of a settled group that no other group in flight shows.
local function release(image_refs, group_images, image_prefix, group_id)
  local images = redis.call('HGET', group_images, group_id)
  if not images then return end
  redis.call('HDEL', group_images, group_id)
  for name in string.gmatch(images, '[^,]+') do
    if redis.call('HINCRBY', image_refs, name, -1) <= 0 then
      redis.call('HDEL', image_refs, name)
      redis.call('DEL', image_prefix .. name)
    end
  end
end

-- Adds a group's scores, given as name and value in turn, to the run's sums. Each group's scores are
-- added once, by the script that ends its scoring.
local function add_scores(score_sums, scores)
  for i = 1, #scores, 2 do redis.call('HINCRBYFLOAT', score_sums, scores[i], scores[i + 1]) end
end

-- Whether a group is recorded when it is settled now; `share` names the share of its kind. The
-- group's id decides, so that a resumed run records the same groups. No group waits for the
-- recorder: one for which there is no room is only counted.
local function is_recorded(recording, records, group_id, share)
  local wanted = redis.call('HGET', recording, share)
  if not wanted then return false end
  local draw = tonumber(string.sub(redis.sha1hex(group_id), 1, 8), 16) / 4294967296
  if draw >= tonumber(wanted) then return false end
  if redis.call('XLEN', records) < tonumber(redis.call('HGET', recording, 'room')) then return true end
  redis.call('HINCRBY', recording, 'missed', 1)
  return false
end

-- Reads the list whose length is ARGV[at]; returns it and the index behind it.
local function read_list(at)
  local items = {}
  for i = 1, tonumber(ARGV[at]) do items[i] = ARGV[at + i] end
  return items, at + #items + 1
end
