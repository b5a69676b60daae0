"""PgBouncer in transaction mode in front of a PostgreSQL server, if it is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from debian import FETCHED, find_program
from programs import free_port


@contextlib.contextmanager
def pooler(server: str, folder: Path) -> Iterator[str]:
    """Run PgBouncer in front of a server; yield the URL of the same database through it."""
    found = find_program("PgBouncer", "pgbouncer", fetched="usr/sbin/pgbouncer")
    with psycopg.connect(server) as connection:
        name, host, user = connection.info.dbname, connection.info.host, connection.info.user
    port = free_port()
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 8,
    }
    lines = [f"{option} = {value}" for option, value in options.items()]
    ini = folder / "pgbouncer.ini"
    databases = f"[databases]\n{name} = host={host} dbname={name} user={user}\n[pgbouncer]\n"
    ini.write_text(databases + "\n".join(lines) + "\n")
    command = [found, str(ini)]
    if os.geteuid() == 0:  # which it refuses to be
        owner = pwd.getpwuid(Path(host).stat().st_uid).pw_name
        command[1:1] = ["-u", owner if owner != "root" else "nobody"]
        for each in (folder, *folder.parents[:2]):
            each.chmod(0o755)
    libraries = ":".join(str(each) for each in FETCHED.glob("usr/lib/*"))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    url = f"postgresql://{user}@127.0.0.1:{port}/{name}"
    try:
        for _ in range(600):
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
                break
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()
