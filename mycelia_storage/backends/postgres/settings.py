"""The options of the PostgreSQL backend, and the URL that may carry them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ...errors import InvalidConfig
from ...options import camel_case, normalise_options

#: What a URL may begin with; the first two are libpq's own.
SCHEMES: Final = ("postgresql", "postgres", "postgres+embedded", "postgresql+embedded")

_MAX_PARTITIONS: Final = 1024
_MAX_SCHEMA_BYTES: Final = 63
_MAX_TENANT_BYTES: Final = 512


@dataclass(frozen=True, kw_only=True)
class PostgresSettings:
    """Every option; camelCase spellings (``busyTimeout``, ...) are taken too, also in the query of the URL."""

    # -- behaviour
    url: str
    """``postgresql://user@host:port/database?...`` as libpq has it, or ``postgres+embedded:///folder``. What libpq
    knows and the URL does not say comes from its environment variables and password file."""
    schema: str = "mycelia"
    """Where the tables are; created if it is missing. Several storages may share a database."""
    tenant: str | None = None
    """Confine this storage to the rows of one tenant, by row level security. The role must not bypass it."""
    read_only: bool = False
    migrate: bool = True
    """Bring an older schema up to date at open; False raises MigrationError instead."""
    partitions: int = 0
    """When the tables are created: hash partitions of the entries, by namespace. Later openings need not say it."""
    busy_timeout: int = 5000
    """Milliseconds to wait for a lock or a free connection before StorageBusy."""
    transaction_timeout: float = 60.0
    """Seconds after which an open transaction is rolled back."""
    statement_timeout: float | None = None
    """Seconds that one statement may take. It is a parameter of the connection: behind a pooler in transaction mode
    set it on the role instead."""
    sweep_interval: float = 60.0
    """Seconds between two sweeps of expired entries, old changes and dropped indexes."""
    change_retention: int = 100_000
    """Changes kept per namespace."""
    change_retention_age: float | None = None
    """Seconds that a change is kept; None: no limit by age."""
    retries: int = 3
    """How often a single read is repeated when its connection was lost, with growing random pauses."""
    application_name: str = "mycelia_storage"
    replicas: tuple[str, ...] = ()
    """URLs of streaming replicas that serve reads outside transactions, each of one server; in a URL, separated by
    blanks. What this storage wrote is always seen, what others wrote perhaps later."""
    replica_wait: float = 0.05
    """Seconds that a read waits for a replica to catch up with this storage's writes, before it asks the primary."""

    # -- performance; most leave these alone
    pool_min_size: int = 1
    """Idle connections kept open."""
    pool_max_size: int = 16
    """Connections at most, one more while somebody watches. Each open transaction has one to itself."""
    connect_timeout: float = 10.0
    """Seconds for a connection to come about."""
    vector_exact_up_to: int = 10_000
    """A vector index of more vectors gets a graph (HNSW) and is searched through it; one of fewer is searched exactly.
    10,000 of 384 dimensions take the server 8.5 ms so, and 3.6 through a graph, which takes a millisecond or more for
    each vector to build."""
    prepare: bool = True
    """Prepare statements on the server. Turn it off behind a pooler in transaction mode that does not carry prepared
    statements (PgBouncer before 1.21, or with max_prepared_statements = 0)."""

    @classmethod
    def read(cls, config: Mapping[str, Any] | str | None, options: dict[str, Any]) -> PostgresSettings:
        """Settings from a mapping or URL and keyword options. Raises InvalidConfig."""
        given: dict[str, Any] = {}
        if isinstance(config, Mapping):
            given.update(config)
        elif isinstance(config, str):
            given["url"] = config
        elif config is not None:
            raise InvalidConfig(f"a configuration is a mapping or a URL, not {type(config).__name__}")
        known = {field.name: str(field.type) for field in fields(cls)}
        merged = normalise_options(given, known, "postgres")
        merged.update(normalise_options(options, known, "postgres"))
        if merged.get("url") is None:
            raise InvalidConfig("the postgres backend needs url: postgresql://user@host/database")
        merged["url"], in_url = _split_url(merged["url"], known)
        replicas = merged.get("replicas", in_url.get("replicas", ()))
        if isinstance(replicas, str):
            replicas = replicas.split()
        if not isinstance(replicas, list | tuple):
            raise InvalidConfig("replicas is a list of URLs")
        settings = cls(**{**in_url, **merged, "replicas": tuple(replicas)})
        settings._check()
        return settings

    def _check(self) -> None:
        for name in ("read_only", "migrate", "prepare"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidConfig(f"{name} is true or false")
        for url in self.replicas:
            if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
                raise InvalidConfig("replicas are URLs that begin with postgresql://")
        _check_name("schema", self.schema, _MAX_SCHEMA_BYTES)
        _check_name("application_name", self.application_name, _MAX_SCHEMA_BYTES)
        if self.tenant is not None:
            _check_name("tenant", self.tenant, _MAX_TENANT_BYTES)
        for name, least, most in (
            ("busy_timeout", 0, 2**31 - 1),
            ("change_retention", 1, 2**31 - 1),
            ("retries", 0, 100),
            ("partitions", 0, _MAX_PARTITIONS),
            ("pool_min_size", 0, 10_000),
            ("pool_max_size", 1, 10_000),
            ("vector_exact_up_to", 0, 2**31 - 1),
        ):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
                raise InvalidConfig(f"{name} is a whole number from {least} to {most}")
        if self.pool_min_size > self.pool_max_size:
            raise InvalidConfig("pool_min_size is at most pool_max_size")
        for name in (
            "transaction_timeout",
            "sweep_interval",
            "connect_timeout",
            "replica_wait",
            "change_retention_age",
            "statement_timeout",
        ):
            seconds = getattr(self, name)
            if seconds is None and name in ("change_retention_age", "statement_timeout"):
                continue
            if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < 1e9:
                raise InvalidConfig(f"{name} is a number of seconds over 0")


def _check_name(option: str, name: Any, most: int) -> None:
    try:
        fits = isinstance(name, str) and 0 < len(name.encode()) <= most and "\0" not in name
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise InvalidConfig(f"{option} is a text of 1 to {most} UTF-8 bytes without NUL")


def _split_url(url: Any, known: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The URL for libpq, and the options of ours that its query held."""
    if not isinstance(url, str):
        raise InvalidConfig(f"a url is a text, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except ValueError:
        raise InvalidConfig("the url cannot be read; write postgresql://user@host/database?option=value") from None
    if parts.scheme not in SCHEMES or "\0" in url:
        raise InvalidConfig("the url of a PostgreSQL storage begins with postgresql:// or postgres+embedded://")
    spellings = {spelling: name for name in known if name != "url" for spelling in (name, camel_case(name))}
    ours: dict[str, Any] = {}
    theirs: list[tuple[str, str]] = []
    for name, text in query:
        option = spellings.get(name)
        if option is None:
            theirs.append((name, text))
        elif option in ours:
            raise InvalidConfig(f"option {option!r} is given twice in the url")
        else:
            ours[option] = _read_option(option, text, known[option])
    # urlunsplit would drop the empty host of postgresql:///database.
    body = url.partition("?")[0]
    return f"{body}?{urlencode(theirs, quote_via=quote)}" if theirs else body, ours


def _read_option(name: str, text: str, kind: str) -> Any:
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int":
            return int(text)
        return float(text) if kind.startswith("float") else text
    except (KeyError, ValueError):
        raise InvalidConfig(f"option {name!r} in the url has no good value") from None
