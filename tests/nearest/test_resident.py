"""Vectors in memory: what they find is what comparing every vector by the definition finds."""

from __future__ import annotations

import numpy
import pytest

from mycelia_storage.indexes import Metric, VectorIndex
from mycelia_storage.nearest.resident import Resident
from mycelia_storage.similarity import scores

SEED = 20_261_121


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("largest", [1.0, 1e18, 1e30])
def test_the_nearest_are_always_among_those_found(metric: Metric, largest: float) -> None:
    rng = numpy.random.default_rng(SEED)
    vectors = rng.normal(size=(300, 12)).astype(numpy.float32)
    vectors[100:200] = vectors[rng.integers(0, 100, 100)]  # ties
    vectors[200:] *= (10 ** rng.uniform(-numpy.log10(largest), numpy.log10(largest), (100, 1))).astype(numpy.float32)
    held = Resident(VectorIndex(12, metric))
    held.add(vectors[:7])
    held.add(vectors[7:])
    allowed = rng.random(300) < 0.5
    for number in range(0, 300, 10):
        query = vectors[number]
        for mask in (None, allowed):
            ranked = scores(vectors, query, metric)
            if mask is not None:
                ranked = numpy.where(mask, ranked, -numpy.inf)
            tenth = numpy.sort(ranked)[-10]
            wanted = set(numpy.flatnonzero(ranked > tenth).tolist())
            found = set(held.nearest(query, 10, mask, 300).tolist())
            assert wanted <= found, f"seed {SEED}, query {number}"
            assert len(found) >= 10
            assert mask is None or found <= set(numpy.flatnonzero(mask).tolist())
