"""The embedded Redis: a real server, private, durable, and gone with its parent."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from perl_rl.launch.embedded_redis import embedded_redis
from tests.processes import children_with
from tests.waiting import wait_until

PATIENCE_S = 20.0


def test_what_is_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    with embedded_redis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_it_listens_on_loopback_only_and_wants_its_password(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
            port = client.get_connection_kwargs()["port"]
        once = Retry(NoBackoff(), 0)
        stranger = redis.Redis(port=port, retry=once)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_the_password_is_in_no_command_line(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as server:
        password = server.url.partition("://:")[2].partition("@")[0]
        assert len(password) > 20
        assert children_with("redis-server")
        assert not children_with(password)


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        process_id = int(client.info("server")["process_id"])
        port = client.get_connection_kwargs()["port"]
    assert not psutil.pid_exists(process_id)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time, redis\n"
        "from perl_rl.launch.embedded_redis import embedded_redis\n"
        "with embedded_redis(pathlib.Path(sys.argv[1])) as server:\n"
        "    print(redis.Redis.from_url(server.url).info('server')['process_id'], flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(server), "the end of the server", PATIENCE_S)


def test_a_folder_with_a_blank_in_its_name_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    with embedded_redis(folder) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", 1)
    assert (folder / "appendonly.aof").exists() or (folder / "appendonlydir").exists()
    assert stat.S_ISREG((folder / "redis.log").stat().st_mode)


def test_a_killed_server_starts_again_at_its_address_with_its_data(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        url = server.url
        client.set("kept", "yes")
        psutil.Process(int(client.info("server")["process_id"])).kill()
        wait_until(lambda: not server.running, "the server to be missed", PATIENCE_S)
        server.start_again()
        assert server.running
        assert server.url == url
        assert client.get("kept") == b"yes"
