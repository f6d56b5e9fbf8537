"""What SECURITY.md says of Redis and graders holds: an ACL user of few rights, and no network."""

import pytest
import redis.asyncio

from shared.config import RewardConfig
from shared.errors import UserError
from shared.grading.pool import GraderPool
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.queues import WorkStream
from shared.wire.runstate import RunState
from shared.wire.settled import SettledStream
from tests.builders import task

pytestmark = pytest.mark.anyio

RIGHTS = (
    *("+@stream", "+@hash", "+@string", "+@set", "+@scripting", "+@transaction", "+@connection"),
    *("+del", "+scan", "+expire"),
)


@pytest.fixture
async def acl_url(redis_url: str):
    admin = redis.asyncio.Redis.from_url(redis_url)
    await admin.execute_command("ACL", "SETUSER", "perl", "on", ">pw", "~perl:r:*", *RIGHTS)
    yield f"redis://perl:pw@{redis_url.rpartition('@')[2]}"
    await admin.execute_command("ACL", "DELUSER", "perl")
    await admin.aclose()


async def test_a_user_of_few_rights_can_do_the_run_s_work_and_no_other(acl_url):
    client = await connect(acl_url, 10.0)
    keys = Keys("r")
    ledger, prompts = Ledger(client, keys), WorkStream(client, keys.prompts, "one")
    await ledger.restore({})
    settled = SettledStream(client, keys)
    await settled.open(share=1.0, dropped=1.0, room=10)
    tasks = [task(group_id="g", order_index=index) for index in range(2)]
    assert await ledger.issue(tasks, {"ab" * 32: b"picture"})
    for entry in await prompts.read(2, 1.0):
        await ledger.drop_dead_letter(prompts, entry, "for the test")
    assert (await ledger.counts()).dropped == {"dead_letter": 1}
    (record,) = await settled.read("0", 10, 1.0)
    await settled.finish([record.id])
    assert await settled.images_in_flight() == set() == set(await settled.image_bytes())
    await settled.close()
    state = RunState(client, keys)
    await state.hold(60.0)
    assert await state.wishes() == {"hold"}
    await state.release()
    with pytest.raises(redis.exceptions.NoPermissionError):
        await client.get("perl:other:state")
    await client.aclose()


async def test_a_wrong_password_is_refused_without_showing_it(acl_url):
    with pytest.raises(UserError) as caught:
        await connect(acl_url.replace("perl:pw@", "perl:hunter2@"), 2.0)
    assert "redis.url" in str(caught.value) and "hunter2" not in str(caught.value)


async def test_graders_have_no_network_or_the_log_says_so(caplog):
    async with GraderPool(RewardConfig(workers=1)) as pool:
        await pool.start()
        (process,) = pool.process_ids()
        with open(f"/proc/{process}/net/dev", encoding="utf-8") as file:
            names = {line.partition(":")[0].strip() for line in file.readlines()[2:]}
    assert names <= {"lo"} or "graders run with a network" in caplog.text
