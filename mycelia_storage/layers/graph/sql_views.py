"""What SQL sees of a graph: views with the original's columns.

==============  ====================================================================================================
view            columns
==============  ====================================================================================================
nodes           id, data, metadata, created_at, updated_at, created_by, updated_by, node_type, deleted
relationships   id, from_node, to_node, relation_type, data, created_at, created_by, and beyond the original weight,
                valid_from, valid_to, recorded_at, end_recorded_at
node_tags       node_id, tag
vectors         id, vector_data, metadata, created_at, updated_at
==============  ====================================================================================================

Times are UTC milliseconds, not DATETIME. ``data`` and ``metadata`` are JSON: TEXT on SQLite, jsonb on PostgreSQL, and
``data ->> 'name'`` reads a field on both. ``vector_data`` is little-endian float32. ``deleted`` is 0 or 1 on SQLite, a
boolean on PostgreSQL: ``WHERE NOT deleted`` fits both. ``data ->> 'n'`` of a number is a number on SQLite and text on
PostgreSQL: ``CAST(data ->> 'n' AS integer)`` fits both. PostgreSQL shows U+0000 to U+0005 in types, tags, data and the
ends of relationships as pairs of such characters, because its JSON cannot hold the first; in ids they are themselves.
``nodes`` and ``relationships`` have soft-deleted nodes and their relationships too, as in the original; ``node_tags``
has their tags; ``vectors`` leaves them out.
"""

from __future__ import annotations

from ...sql_views import SqlColumn, SqlView
from .layout import Places


def views(places: Places) -> dict[str, SqlView]:
    """The views of one graph."""
    return {
        "nodes": SqlView(
            places.nodes,
            (
                SqlColumn("id", ("key",)),
                SqlColumn("data", ("value", "data"), "json"),
                SqlColumn("metadata", ("value", "metadata"), "json"),
                SqlColumn("created_at", ("value", "created_at"), "integer"),
                SqlColumn("updated_at", ("value", "updated_at"), "integer"),
                SqlColumn("created_by", ("value", "created_by")),
                SqlColumn("updated_by", ("value", "updated_by")),
                SqlColumn("node_type", ("value", "node_type")),
                SqlColumn("deleted", ("value", "deleted"), "boolean"),
            ),
        ),
        "relationships": SqlView(
            places.edges,
            (
                SqlColumn("id", ("key",)),
                SqlColumn("from_node", ("value", "from_node")),
                SqlColumn("to_node", ("value", "to_node")),
                SqlColumn("relation_type", ("value", "relation_type")),
                SqlColumn("data", ("value", "data"), "json"),
                SqlColumn("created_at", ("value", "created_at"), "integer"),
                SqlColumn("created_by", ("value", "created_by")),
                SqlColumn("weight", ("value", "weight"), "real"),
                SqlColumn("valid_from", ("value", "valid_from"), "integer"),
                SqlColumn("valid_to", ("value", "valid_to"), "integer"),
                SqlColumn("recorded_at", ("value", "recorded_at"), "integer"),
                SqlColumn("end_recorded_at", ("value", "end_recorded_at"), "integer"),
            ),
        ),
        "node_tags": SqlView(
            places.nodes, (SqlColumn("node_id", ("key",)), SqlColumn("tag", ("each",))), each=("value", "tags")
        ),
        "vectors": SqlView(
            places.vectors,
            (
                SqlColumn("id", ("key",)),
                SqlColumn("vector_data", ("value",), "bytes"),
                SqlColumn("metadata", ("metadata", "metadata"), "json"),
                SqlColumn("created_at", ("created_at",), "integer"),
                SqlColumn("updated_at", ("updated_at",), "integer"),
            ),
        ),
    }
