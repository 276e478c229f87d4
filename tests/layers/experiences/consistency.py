"""Whether all rows of a store agree: every entity has all its secondary rows, and no row stands alone."""

from __future__ import annotations

from mycelia_storage.layers.experiences import ExperienceStore
from mycelia_storage.layers.experiences.rows import (
    age_key,
    edge_key,
    facets,
    is_zero,
    read_experiences,
    read_insights,
    vector_place,
)
from mycelia_storage.names import join_key, split_key


def problems(store: ExperienceStore) -> list[str]:
    """What is wrong, a sentence each."""
    layout, found = store.layout, []
    with store.storage.transaction(read_only=True) as tx:
        rows = {
            name[len(layout.root) + 1 :]: {row.key: row for row in tx.scan(namespace=name)}
            for name in tx.list_namespaces(prefix=layout.root)
        }
        expected: dict[str, set[str]] = {}

        def expect(namespace: str, key: str) -> None:
            expected.setdefault(namespace[len(layout.root) + 1 :], set()).add(key)

        experiences = {e.id: e for e in read_experiences(tx, layout, rows.get("experiences", {}))}
        insights = read_insights(tx, layout, rows.get("insights", {}))
    for e in experiences.values():
        c = e.collective_id
        place = vector_place(layout, e)
        expect(layout.ages(c), age_key(e))
        expect(layout.types(c), join_key(e.experience_type.tag, e.id))
        expect(place, e.id)
        held = rows.get(place[len(layout.root) + 1 :], {}).get(e.id)
        if held is not None and held.metadata != facets(e):
            found.append(f"experience {e.id} is filtered by what it was")
    for id, row in rows.get("relations", {}).items():
        relation = store.get_relation(id)
        source = experiences.get(row.value["source"])
        if relation is None or source is None or relation.target_id not in experiences:
            found.append(f"relation {id} has lost an end")
            continue
        expect(layout.edges_out, join_key(relation.source_id, id))
        expect(layout.edges_in, join_key(relation.target_id, id))
        expect(layout.edge_keys, edge_key(relation))
        expect(layout.edges(source.collective_id), join_key(source.timestamp, source.id, id))
    for insight in insights:
        c = insight.collective_id
        expect(layout.insights_of(c), insight.id)
        expect(layout.insight_zeros(c) if is_zero(insight.vector) else layout.insight_vectors(c), insight.id)
    free = {"about", "sequence", "log", "collectives", "experiences", "relations", "insights", "tombstones", "cursors"}
    for name in {*rows, *expected} - free - {"decay"}:
        if not name.endswith("/activities") and {*rows.get(name, {})} != expected.get(name, set()):
            found.append(f"namespace {name} has {len(rows.get(name, {}))} rows, not {len(expected.get(name, ()))}")
    newest, gone = store._ends()
    if [split_key(key)[0] for key in rows.get("log", {})] != [*range(gone + 1, newest + 1)]:
        found.append("the log has a gap")
    homes = {name.split("/")[1] for name in rows if name.startswith("c/")}
    if homes - {*rows.get("collectives", {})}:
        found.append("something belongs to a collective that is not there")
    return found
