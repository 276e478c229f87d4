"""One storage over several: each top-level namespace lives whole on one shard, and moves between shards while in use.

A shard is any StorageBackend. The top-level namespace (what stands before the first ``/``) decides by rendezvous
hashing over the shards' names, or by a pin. Everything below it lies on the same shard, so that a transaction, an
index or a recursive delete within it stays with one shard.

The protocol
============

Every shard keeps, in a namespace of its own that users do not see (:mod:`~.ledger`):

==================  ================================================================================================
key                 value
==================  ================================================================================================
``identity``        the shard's name and the id of the whole: a wrong file or a wrong order is noticed at open
``table``           the routing table (:mod:`~.routing`) with its epoch
``move/TOP``        on the shard that TOP leaves: ``copying``, ``fenced`` or ``left``, and the token of the mover
``incoming/TOP``    on the shard that TOP goes to: the token of the mover that may write its copy
``arrived/TOP``     on the shard that TOP came to: where the change log goes on
==================  ================================================================================================

**Epochs.** A table says what holds now (ring, pins) and what shall hold next. It changes in two steps, each one epoch:
*announce* (now stays, next is set) and *finish* (now is what next was). The first shard is written first, which
decides who announces; then the others. A client works with the newest table it has seen. Between the two steps a name
whose owner differs between now and next is *in transit*: its old owner's ledger alone says whether it has left.

**Settled names** (almost all, almost always) cost no more than a look at the clock. A client knows by a *lease* that
a shard's table had no newer epoch: it lasts ``lease`` seconds from just before the table was read. A read counts if the
lease holds when the answer is there, else the table is read again and, if the name has moved, so is the answer. A
write wants the lease before and after. A process that was stopped in the middle therefore never takes a stale answer
for good. The clock is the one that goes on while the machine sleeps. ``lease=0`` asks after every operation, and
then nothing depends on any clock.

**Names in transit.** A write is a transaction on the old owner that first reads table and ``move/TOP``. A write
transaction excludes other writers (the contract) or is serializable, so it comes before or after a fence, never
beside it. A read is followed by a look at the ledger, and repeated elsewhere if the name had left. Transactions and
batches always read the ledger inside, settled or not.

**A move.** (1) announce, (2) wait ``settle`` seconds, within which every lease has ended and every write begun under
one is done, meanwhile (3) turn change tracking on, copy in key order, compare, and follow the change log until little
is left, (4) *fence*: ``move/TOP`` becomes ``fenced``: reads go on, writers wait, (5) the last changes, compared,
(6) close ``incoming/TOP``: no copy is written any more, (7) ``move/TOP`` becomes ``left``: from this commit on the new
owner has it, (8) delete the old copy in small batches. Each step is a transaction that checks the mover's token, so a
mover that was thought dead can do no harm. One that died is followed up by the next ``rebalance()``; what it copied
is compared, not sent again. A fence that outlives its mover is lifted by the first writer that has waited for it.

**Fresh names.** When nothing in transit is left on a shard, it is *closed* in a transaction that has listed its
namespaces: names in transit that do not exist yet then belong to their new owner. When all are closed, the finish is
written.

What remains: a single write begun under a lease that takes longer than ``settle - lease`` seconds while its very
name is moved raises CommitUnknown, since nobody can tell whether the copy has it.
"""

from .moving import MoveReport
from .rebalancing import RebalanceReport
from .storage import ShardedStorageBackend

__all__ = ["MoveReport", "RebalanceReport", "ShardedStorageBackend"]
