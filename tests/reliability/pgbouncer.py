"""A real PgBouncer in transaction mode, where there is one: ``PGBOUNCER=/usr/sbin/pgbouncer`` names the program."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mycelia_storage.backends.postgres.server_programs import hand_over, server_identity

CONFIGURATION = """[databases]
postgres = host={host} port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 24
max_client_conn = 400
server_round_robin = 1
"""


@contextmanager
def pgbouncer(program: str, host: str) -> Iterator[str]:
    """The address of a PgBouncer before the server that listens in the folder ``host``."""
    folder = Path(tempfile.mkdtemp(prefix="mycelia-bouncer-"))
    hand_over(folder)
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(CONFIGURATION.format(host=host, port=port))
    with subprocess.Popen(
        [program, "-q", str(configuration)], stderr=subprocess.DEVNULL, **server_identity()
    ) as process:
        try:
            give_up = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < give_up, "PgBouncer does not start"
                    time.sleep(0.05)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
    shutil.rmtree(folder)
