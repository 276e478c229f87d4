"""The statements of writes (:mod:`.writing`), with the numbers of their parameters."""

from __future__ import annotations

from typing import Final

from .reading import squeeze

# 1 namespace, 2 key, 3 value, 4 metadata, 5 now in ms, 6 expires_at, 7 version
_INTO: Final = """INSERT INTO storage_entries
(namespace, key, value, metadata, created_at, updated_at, expires_at, version)"""
_UPSERT: Final = """ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, metadata = excluded.metadata,
created_at = iif(expires_at <= excluded.updated_at, excluded.created_at, created_at),
updated_at = excluded.updated_at, expires_at = excluded.expires_at, version = """
_UPSERT_NUMBERED: Final = """ON CONFLICT (namespace, key) DO UPDATE SET value = ?3, metadata = ?4,
created_at = iif(expires_at <= ?5, ?5, created_at), updated_at = ?5, expires_at = ?6, version = """
_QUICK: Final = f"""{_INTO} SELECT ?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7 WHERE EXISTS
(SELECT 1 FROM storage_namespaces WHERE name = ?1 AND track_changes = %d AND version_floor < ?7)
{_UPSERT_NUMBERED} ?7 WHERE ?7 > version"""
QUICK_SET: Final = squeeze(_QUICK % 0)
QUICK_SET_TRACKED: Final = squeeze(_QUICK % 1)
# The same alone, as its own transaction, which ticks the clock itself; ?5 is from before it took the write lock.
SET_ALONE: Final = squeeze(f"""{_INTO} SELECT ?1, ?2, ?3, ?4, ?5, ?5, ?6, mycelia_clock() WHERE EXISTS
(SELECT 1 FROM storage_namespaces WHERE name = ?1 AND track_changes = 0 AND version_floor < ?5 * 1000)
{_UPSERT_NUMBERED} excluded.version WHERE excluded.version > version""")
SET_ROW: Final = f"{_INTO} VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7) {_UPSERT} max(version + 1, excluded.version)"
# Many rows in one statement cost half of what they cost one by one, less still where only key and value differ:
# 1 namespace, 2 metadata, 3 now in ms, 4 expires_at, 5 version, then key and value of each.
ROWS_A_STATEMENT: Final = 50
SET_ROWS: Final = squeeze(
    f"""{_INTO} VALUES {
        ",".join(
            f"(?{at},?{at + 1},?{at + 2},?{at + 3},?{at + 4},?{at + 4},?{at + 5},?{at + 6})"
            for at in range(1, 7 * ROWS_A_STATEMENT, 7)
        )
    } {_UPSERT} max(version + 1, excluded.version)"""
)
SET_PAIRS: Final = squeeze(
    f"""{_INTO} VALUES {
        ",".join(f"(?1,?{at},?{at + 1},?2,?3,?3,?4,?5)" for at in range(6, 6 + 2 * ROWS_A_STATEMENT, 2))
    } {_UPSERT} max(version + 1, excluded.version)"""
)
# 1 namespace, 2 key, 3 value, 4 metadata, 5 version, 6 created_at, 7 updated_at, 8 expires_at
RESTORE: Final = f"""{_INTO} VALUES (?1, ?2, ?3, ?4, ?6, ?7, ?8, ?5)
ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, metadata = excluded.metadata,
created_at = excluded.created_at, updated_at = excluded.updated_at, version = max(version + 1, excluded.version),
expires_at = excluded.expires_at"""

QUICK_DELETE: Final = """DELETE FROM storage_entries WHERE namespace = ?1 AND key = ?2 AND version < ?3
AND expires_at IS NULL AND (SELECT track_changes FROM storage_namespaces WHERE name = ?1) = 0"""
DELETE_ALONE: Final = squeeze("""DELETE FROM storage_entries WHERE namespace = ?1 AND key = ?2
AND version < mycelia_clock() AND expires_at IS NULL
AND (SELECT track_changes FROM storage_namespaces WHERE name = ?1) = 0""")
FIND_TO_SET: Final = """SELECT track_changes, version_floor,
(SELECT version FROM storage_entries WHERE namespace = ?1 AND key = ?2) FROM storage_namespaces WHERE name = ?1"""
FIND: Final = "SELECT version, expires_at FROM storage_entries WHERE namespace = ? AND key = ?"
DELETE: Final = "DELETE FROM storage_entries WHERE namespace = ? AND key = ?"
RAISE_FLOOR: Final = "UPDATE storage_namespaces SET version_floor = max(version_floor, ?2) WHERE name = ?1"

FIND_METADATA: Final = squeeze("""SELECT metadata, expires_at, version,
(SELECT track_changes FROM storage_namespaces WHERE name = ?1)
FROM storage_entries WHERE namespace = ?1 AND key = ?2""")
SET_METADATA: Final = squeeze("""UPDATE storage_entries SET metadata = ?3, updated_at = ?4, version = ?5
WHERE namespace = ?1 AND key = ?2""")

FIND_NAMESPACE: Final = "SELECT track_changes FROM storage_namespaces WHERE name = ?"
ADD_NAMESPACE: Final = """INSERT INTO storage_namespaces
(name, metadata, created_at, track_changes, version_floor, pruned_through) VALUES (?1, ?2, ?3, ?4,
(SELECT value FROM storage_state WHERE name = 'version_floor'),
(SELECT value FROM storage_state WHERE name = 'pruned_through'))"""
CHANGE_NAMESPACE: Final = """UPDATE storage_namespaces
SET metadata = coalesce(?2, metadata), track_changes = track_changes | ?3 WHERE name = ?1"""
FAMILY: Final = """SELECT name FROM storage_namespaces
WHERE name = ?1 OR (name > ?1 || '/' AND name < ?1 || '0') ORDER BY name"""
ALL_NAMESPACES: Final = "SELECT name, track_changes FROM storage_namespaces ORDER BY name"
SIZE_UP: Final = (
    "SELECT total(expires_at IS NULL OR expires_at > ?2), max(version) FROM storage_entries WHERE namespace = ?1"
)
EMPTY: Final = "DELETE FROM storage_entries WHERE namespace = ?"
INDEXES_OF: Final = "SELECT name, sql_name FROM storage_indexes WHERE namespace = ?"
FORGET: Final = (
    """UPDATE storage_state SET value = max(value, ?2,
    (SELECT max(version_floor) FROM storage_namespaces WHERE name = ?1)) WHERE name = 'version_floor'""",
    """UPDATE storage_state SET value = max(value,
    (SELECT coalesce(max(seq), 0) FROM storage_changes WHERE namespace = ?1),
    (SELECT max(pruned_through) FROM storage_namespaces WHERE name = ?1)) WHERE name = 'pruned_through' AND ?2 = ?2""",
    "DELETE FROM storage_changes WHERE namespace = ?1 AND ?2 = ?2",
    "DELETE FROM storage_namespaces WHERE name = ?1 AND ?2 = ?2",
)
FIND_INDEX: Final = "SELECT declaration, sql_name FROM storage_indexes WHERE namespace = ? AND name = ?"
ADD_INDEX: Final = "INSERT INTO storage_indexes (namespace, name, declaration, sql_name) VALUES (?, ?, ?, ?)"
DROP_INDEX: Final = "DELETE FROM storage_indexes WHERE namespace = ? AND name = ?"
NEXT_INDEX: Final = "UPDATE storage_state SET value = value + 1 WHERE name = 'last_index' RETURNING value"
SET_SEARCHED: Final = "UPDATE storage_namespaces SET track_changes = (track_changes & 1) + 2 * ?2 WHERE name = ?1"
SQL_INDEXES: Final = (
    "SELECT name FROM sqlite_schema WHERE type = 'index' AND (name = ?1 OR name LIKE ?1 || '\\_%' ESCAPE '\\')"
)

EXPIRED_IN: Final = "SELECT key FROM storage_entries WHERE expires_at <= ? AND namespace = ?"
EXPIRED: Final = "SELECT namespace, key, version FROM storage_entries WHERE expires_at <= ? LIMIT ?"
