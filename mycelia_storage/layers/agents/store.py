"""AgentStore: elizaOS's database adapter for one agent, on any storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...names import Namespace, check_namespace
from .agents import Agents
from .binding import ATTEMPTS, DIMENSIONS, Session
from .cache import Cache
from .components import Components
from .embedding_space import EmbeddingSpace
from .entities import Entities
from .gate import Gate, gated
from .ids import as_uuid
from .layout import Places
from .logs import Logs
from .plugin_schemas import run_plugin_migrations
from .recall import Recall
from .relationships import Relationships
from .rooms import Rooms
from .tasks import Tasks
from .worlds import Worlds

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds that ``close`` waits for calls under way.
_PATIENCE: Final = 30.0


@gated("close", "is_ready", "get_connection")
class AgentStore(Agents, Entities, Components, Worlds, Rooms, Relationships, Recall, Tasks, Logs, Cache):
    """What one agent remembers and knows.

    ``storage`` may be a transaction: then the store is part of it. Several stores, of one agent or of many, may share a
    storage. Every write is one transaction. Safe in many threads.
    """

    def __init__(
        self,
        storage: StorageBackend,
        agent_id: str,
        *,
        namespace: Namespace = "agents",
        tenant: str | None = None,
        strict: bool = False,
        embedding_dimension: int = 384,
        dimensions: tuple[int, ...] = DIMENSIONS,
        max_vectors: int = 1_000_000,
        log_retention: int | None = 100_000,
        log_retention_age: float | None = None,
        owns_storage: bool = False,
    ) -> None:
        """Behaviour:

        ``namespace``: where everything is kept. ``tenant``: a part of it of its own; stores of another tenant reach
        nothing in it, nor it anything of theirs (on PostgreSQL a storage opened with a tenant does that by row level
        security). ``strict``: the records of other agents do not exist for this store, by id neither.
        ``embedding_dimension``: the active one at the start; ``dimensions``: those that may be.
        ``owns_storage``: ``close`` closes the storage too.

        Limits: ``max_vectors`` of an agent, table and embedding space; ``log_retention``: how many logs are kept;
        ``log_retention_age``: for how many seconds. None is no limit.

        Raises InvalidInput, SchemaTooNew for a namespace that a newer library wrote.
        """
        root = check_namespace(namespace)
        if tenant is not None:
            if not isinstance(tenant, str) or not tenant:
                raise InvalidInput("a tenant is a non-empty string")
            root = f"{root}/tenants/{check_namespace((tenant,))}"
        session = Session(
            gate=Gate(),
            places=Places(root),
            space=EmbeddingSpace.plain(embedding_dimension),
            dimensions=tuple(dimensions),
            strict=strict,
            log_retention=log_retention,
            log_retention_age=log_retention_age,
            max_vectors=max_vectors,
        )
        super().__init__(storage, as_uuid(agent_id), session)
        self._owns_storage = owns_storage
        self._check_supported(embedding_dimension)

    # -- life ----------------------------------------------------------------------------------------------------------

    def initialize(self) -> None:
        """Note the version of the layout, or see that it is known here. Any number of times. Raises SchemaTooNew."""
        self._places.settle(self._storage)

    def init(self) -> None:
        """The older name of :meth:`initialize`."""
        self.initialize()

    def is_ready(self) -> bool:
        """Whether the store is open and its storage answers: False, never an error."""
        if self._gate.closed:
            return False
        try:
            self._storage.ping()
        except Exception:
            return False
        return True

    def run_plugin_migrations(
        self, plugins: Mapping[str, Any], *, force: bool = False, dry_run: bool = False
    ) -> dict[str, list[int]]:
        """Apply the pending migrations of plug-ins, each given as its package name and the folder of its migrations;
        the versions applied. See :class:`~mycelia_storage.layers.agents.plugin_schemas.PluginSchemas`.
        """
        return run_plugin_migrations(self._storage, plugins, force=force, dry_run=dry_run)

    def get_connection(self) -> StorageBackend:
        """The storage underneath."""
        return self._storage

    def close(self, *, patience: float = _PATIENCE) -> None:
        """Wait for the calls under way, at most ``patience`` seconds; every later one raises StorageClosed.

        Closing twice is no error. The storage stays open unless the store owns it.
        """
        self._gate.close(patience)
        if self._owns_storage:
            self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- transactions --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[AgentStore]:
        """For ``with``: a store whose writes commit together at the end, or not at all on an exception.

        Within such a store it is a savepoint: a failure inside undoes that part alone.
        """
        with self._gate, self._storage.transaction() as tx:
            yield self._bound_to(tx)

    def run_transaction(
        self, function: Callable[Concatenate[AgentStore, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """``function(store, ...)`` in one transaction, run again when it met a concurrent one; its result."""

        def run(tx: StorageBackend) -> R:
            return function(self._bound_to(tx), *args, **kwargs)

        return self._storage.run_transaction(run, attempts=ATTEMPTS)

    def with_agent_scope(self, agent_id: str, function: Callable[[AgentStore], R]) -> R:
        """``function(store)`` in one transaction with a store that speaks for another agent, for restoring one."""

        def run(tx: StorageBackend) -> R:
            return function(self._bound_to(tx, as_uuid(agent_id)))

        return self._storage.run_transaction(run, attempts=ATTEMPTS)

    def _bound_to(self, storage: StorageBackend, agent_id: str | None = None) -> AgentStore:
        store: AgentStore = object.__new__(type(self))
        Recall.__init__(store, storage, agent_id or self._agent_id, self._session)
        store._owns_storage = False
        return store


def health_check(store: Any) -> bool:
    """Whether a store answers; the ``testConnection`` of elizaOS."""
    return bool(store.is_ready())
