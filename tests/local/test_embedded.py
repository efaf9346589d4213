"""The embedded servers keep what was committed, end with their launcher, and start again after anything."""

import os
import signal
import socket
import stat
import time
from pathlib import Path

import psycopg2
import pytest
import redis
from launching import Launchers, processes_of
from waiting import eventually

from app.local import secret_file
from app.local.embedded import EmbeddedServers, Urls
from app.local.errors import AlreadyRunning, LocalError


def count_rows(urls: Urls) -> int:
    """Add a row and a Redis count; both kept the same number of them."""
    with (
        psycopg2.connect(urls.database_url.replace("+psycopg2", "")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE TABLE IF NOT EXISTS kept (n serial); INSERT INTO kept DEFAULT VALUES")
        cursor.execute("SELECT count(*) FROM kept")
        (rows,) = cursor.fetchone() or (0,)
    with redis.Redis.from_url(urls.redis_url) as client:
        assert client.incr("kept") == rows
    return int(rows)


def test_a_second_start_finds_the_data_on_the_same_urls(new_dir: Path) -> None:
    first, second = EmbeddedServers(new_dir), EmbeddedServers(new_dir)
    with first as urls:
        assert first.is_alive()
        assert count_rows(urls) == 1
    assert not processes_of(new_dir)
    started = time.monotonic()
    with second as again:
        assert time.monotonic() - started < 2
        assert again == urls
        assert count_rows(again) == 2


def test_the_servers_are_durable_and_private(data_dir: Path) -> None:
    with EmbeddedServers(data_dir) as urls:
        with (
            psycopg2.connect(urls.database_url.replace("+psycopg2", "")) as connection,
            connection.cursor() as cursor,
        ):
            for setting, value in (
                ("fsync", "on"),
                ("synchronous_commit", "on"),
                ("data_checksums", "on"),
                ("log_min_error_statement", "panic"),
            ):
                cursor.execute(f"SHOW {setting}")
                assert cursor.fetchone() == (value,)
            cursor.execute(
                "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'postgres'"
            )
            assert cursor.fetchone() == ("UTF8", "C.UTF-8")
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(urls.database_url.replace("+psycopg2", "").replace("lovage:", "lovage:not"))
        with redis.Redis.from_url(urls.redis_url) as client:
            assert client.config_get("append*")["appendonly"] == "yes"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-ttl"}
            assert 0 < int(client.config_get("maxmemory")["maxmemory"]) <= 2 << 30
    for path in (data_dir / "secrets.json", data_dir / "valkey" / "valkey.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_server_may_be_left_out(new_dir: Path) -> None:
    with EmbeddedServers(new_dir, postgres=False) as urls:
        assert urls.database_url == ""
        assert not (new_dir / "postgres").exists()
        assert redis.Redis.from_url(urls.redis_url).ping()


def test_a_killed_launcher_takes_the_servers_along_and_loses_nothing(
    data_dir: Path, launchers: Launchers
) -> None:
    launcher = launchers.servers(data_dir)
    assert launcher.stdout is not None
    urls = Urls(*launcher.stdout.readline().split())
    assert count_rows(urls) == 1
    launcher.kill()
    launcher.wait()
    with EmbeddedServers(data_dir) as again:  # at once: the old servers are still shutting down
        assert again == urls
        assert count_rows(again) == 2


def test_killed_servers_start_again_without_loss(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    with servers as urls:
        assert count_rows(urls) == 1
        for child in servers.children.values():
            os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: not servers.is_alive())
    with EmbeddedServers(data_dir) as again:  # over a stale pid file and orphans on the shared memory
        assert count_rows(again) == 2


@pytest.mark.parametrize(
    "after_s", [0.25, *(pytest.param(at, marks=pytest.mark.chaos) for at in (0.02, 0.1, 0.4, 0.6))]
)
def test_a_launcher_killed_in_its_first_second_leaves_nothing_half_made(
    new_dir: Path, launchers: Launchers, after_s: float
) -> None:
    launcher = launchers.servers(new_dir)
    eventually(new_dir.exists)
    time.sleep(after_s)
    launcher.kill()
    eventually(lambda: not processes_of(new_dir))
    with EmbeddedServers(new_dir) as urls:
        assert count_rows(urls) == 1


def test_a_pid_file_with_a_reused_pid_does_not_stop_postgres(data_dir: Path) -> None:
    with EmbeddedServers(data_dir) as urls:
        assert count_rows(urls) == 1
    (data_dir / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    (data_dir / "postgres" / "data" / "postmaster.pid").chmod(0o600)
    with EmbeddedServers(data_dir) as urls:
        assert count_rows(urls) == 2


def test_a_taken_port_is_left_to_its_owner(data_dir: Path) -> None:
    with EmbeddedServers(data_dir) as urls:
        assert count_rows(urls) == 1
    before = secret_file.load_or_make(data_dir)
    with (
        socket.create_server(("127.0.0.1", before.postgres_port)),
        socket.create_server(("127.0.0.1", before.valkey_port)),
        EmbeddedServers(data_dir) as moved,
    ):
        assert count_rows(moved) == 2
        after = secret_file.load_or_make(data_dir)
        assert {before.postgres_port, before.valkey_port}.isdisjoint({after.postgres_port, after.valkey_port})
    with EmbeddedServers(data_dir) as again:
        assert again == moved


def test_a_second_start_on_the_same_directory_says_who_runs(data_dir: Path) -> None:
    with (
        EmbeddedServers(data_dir),
        pytest.raises(AlreadyRunning, match=rf"already running on .* \(pid {os.getpid()}\)"),
    ):
        EmbeddedServers(data_dir).start()


def test_a_spoilt_secrets_file_is_not_replaced(new_dir: Path) -> None:
    new_dir.mkdir()
    (new_dir / "secrets.json").write_text("{")
    with pytest.raises(LocalError, match=r"secrets\.json cannot be read"):
        EmbeddedServers(new_dir).start()
    assert (new_dir / "secrets.json").read_text() == "{"
