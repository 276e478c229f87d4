"""A process that holds SQLite's locks, as another program would."""

from __future__ import annotations

import apsw

from .forkserver import Talk


def hold(talk: Talk, path: str, begin: str) -> None:
    """Begin so, say so, wait to be told, roll back."""
    connection = apsw.Connection(path)
    connection.set_busy_timeout(2000)
    connection.execute(begin)
    talk.say("held")
    talk.wait()
    connection.execute("ROLLBACK")
    connection.close()
    talk.say("released")
