"""Where everything of a store of experiences lies. All of it is below one root namespace, ``experiences`` by default.

==========================  ===============================  ====================================================
namespace below the root    key                              value
==========================  ===============================  ====================================================
``about``                   store                            what the store is: instance, dimension, versions
``sequence``                log                              last sequence number, last clock value, numbers gone
``log``                     (seq)                            one mutation: entity, id, collective, kind, time
``collectives``             collective                       the collective
``experiences``             experience                       the experience without its vector
``relations``               relation                         the relation
``edges_out``               (source, relation)               the target
``edges_in``                (target, relation)               the source
``edge_keys``               (source, type, target)           the relation: at most one
``insights``                insight                          the insight without its vector
``tombstones``              id of what was deleted           what it was, and the stamp of its death
``decay``                   collective                       its own settings of decay
``cursors``                 instance of a peer               how far it was pushed to and pulled from
``c/<c>/ages``              (timestamp, experience)          bytes of the experience: paging, newest
``c/<c>/types``             (type tag, experience)           null
``c/<c>/vectors``           experience                       vector; metadata: what filters ask. VectorIndex
``c/<c>/archived``          experience                       the same for archived experiences. VectorIndex
``c/<c>/zeros``             experience                       the same for vectors that are all zero
``c/<c>/edges``             (timestamp, source, relation)    null: paging of relations, by age of the source
``c/<c>/insights``          insight                          null
``c/<c>/insight_vectors``   insight                          its vector. VectorIndex
``c/<c>/insight_zeros``     insight                          the same for vectors that are all zero
``c/<c>/activities``        agent                            the activity
==========================  ===============================  ====================================================

``<c>`` is a collective. Ids are UUIDs in their text form, so keys sort as the ids do; keys in parentheses, and agents,
are made by ``names.join_key``. Only ``sequence`` tracks changes: one change for each transaction wakes whoever watches,
in any process. Archived experiences have an index of their own, so that a search, which leaves them out as a rule, need
not ask. A vector index may not hold a vector that has no direction, so those lie beside it and are found with
similarity 0.
"""

from __future__ import annotations

from functools import lru_cache

from ...names import Namespace, check_namespace, join_key, split_key

STORE_KEY = "store"
LOG_KEY = "log"


class Layout:
    """The namespaces of one store."""

    def __init__(self, root: Namespace) -> None:
        name = check_namespace(root)
        self.root = name
        self.about = f"{name}/about"
        self.sequence = f"{name}/sequence"
        self.log = f"{name}/log"
        self.collectives = f"{name}/collectives"
        self.experiences = f"{name}/experiences"
        self.relations = f"{name}/relations"
        self.edges_out = f"{name}/edges_out"
        self.edges_in = f"{name}/edges_in"
        self.edge_keys = f"{name}/edge_keys"
        self.insights = f"{name}/insights"
        self.tombstones = f"{name}/tombstones"
        self.decay = f"{name}/decay"
        self.cursors = f"{name}/cursors"

    def of(self, collective: str) -> str:
        """The namespace above all that belongs to one collective alone."""
        return f"{self.root}/c/{collective}"

    def ages(self, collective: str) -> str:
        """Experiences by age."""
        return f"{self.root}/c/{collective}/ages"

    def types(self, collective: str) -> str:
        """Experiences by type."""
        return f"{self.root}/c/{collective}/types"

    def vectors(self, collective: str) -> str:
        """Vectors of experiences."""
        return f"{self.root}/c/{collective}/vectors"

    def archived(self, collective: str) -> str:
        """Vectors of archived experiences."""
        return f"{self.root}/c/{collective}/archived"

    def zeros(self, collective: str) -> str:
        """Vectors of experiences that are all zero."""
        return f"{self.root}/c/{collective}/zeros"

    def edges(self, collective: str) -> str:
        """Relations by age of their source."""
        return f"{self.root}/c/{collective}/edges"

    def insights_of(self, collective: str) -> str:
        """Insights of the collective."""
        return f"{self.root}/c/{collective}/insights"

    def insight_vectors(self, collective: str) -> str:
        """Vectors of insights."""
        return f"{self.root}/c/{collective}/insight_vectors"

    def insight_zeros(self, collective: str) -> str:
        """Vectors of insights that are all zero."""
        return f"{self.root}/c/{collective}/insight_zeros"

    def activities(self, collective: str) -> str:
        """Agents at work in the collective."""
        return f"{self.root}/c/{collective}/activities"


@lru_cache(maxsize=256)
def log_key(seq: int) -> str:
    """The key of a log row."""
    return join_key(seq)


def second_part(key: str) -> str:
    """The last part of a composite key: the id that it leads to."""
    return str(split_key(key)[-1])
