-- Enters a group that cannot be asked as dropped, with a dead letter that says why. Returns 0 when
-- it was issued before.
-- keys: ledger counts events prompts dead_letters verdicts records recording trainer
-- args: group_id state reason verdict incarnation tasks...

if redis.call('HSETNX', ledger, group_id, state) == 0 then return 0 end
redis.call('HINCRBY', counts, 'issued', 1)
redis.call('HINCRBY', counts, state, 1)
redis.call('HSETNX', verdicts, group_id, verdict)
redis.call('XADD', dead_letters, '*', 'm', '', 'stream', prompts, 'reason', reason, 'g', group_id)
if is_recorded(recording, records, group_id, 'dropped') then
  redis.call('XADD', records, '*', 'group', group_id, 'state', state, 'incarnation', incarnation,
    'step', redis.call('HGET', trainer, 'step') or 0, 'detail', reason, 'tasks', cmsgpack.pack({0, tasks}))
end
redis.call('XADD', events, 'MAXLEN', '~', '1000', '*', 'group', group_id)
return 1
