"""Sync: two stores exchange what they hold, until both hold the same.

One store pushes to and pulls from a peer (:class:`SyncManager`); the peer answers (:class:`SyncService`), in the same
process (:class:`LocalPeer`) or over HTTP (:class:`HttpPeer`, :func:`sync_app`, :func:`serve`). What travels is not the
log but, for each entity that the log names, its state when sent: the newest, or its tombstone. Whoever receives merges:

===========================  =========================================================================================
what                         who wins
===========================  =========================================================================================
an entity, or its death      the later stamp of ``born`` and ``died``
what may change              the later ``edited`` (a hybrid clock, then the instance)
uses of an experience        for each instance the larger count, so uses counted in two places add up
last reinforced              the later time
two relations alike          the smaller id; the other one dies everywhere
a relation that lost an end  dies everywhere, as does everything in a collective that died
===========================  =========================================================================================

A merge that changes nothing writes nothing; one that does is logged like any change, with the peer it came from, who is
not told again. So changes travel on to further stores, replays do no harm, and any order of exchanges ends in the same
state. A page is applied in one transaction together with the cursor that says so: there is no moment at which a crash
loses or repeats anything. Activities and settings of decay stay where they are. Modules: :mod:`.frames` (bytes),
:mod:`.changes` (what is sent), :mod:`.checking` and :mod:`.applying` (what is received), :mod:`.service`,
:mod:`.peers`, :mod:`.settings`, :mod:`.manager`, :mod:`.web`.
"""

from __future__ import annotations

from .manager import SyncManager
from .peers import HttpPeer, LocalPeer, Peer
from .service import SyncService
from .settings import SyncConfig, SyncDirection, SyncProgress, SyncReport, SyncStatus
from .web import serve, sync_app

__all__ = [
    "HttpPeer",
    "LocalPeer",
    "Peer",
    "SyncConfig",
    "SyncDirection",
    "SyncManager",
    "SyncProgress",
    "SyncReport",
    "SyncService",
    "SyncStatus",
    "serve",
    "sync_app",
]
