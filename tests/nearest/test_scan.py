"""Codes of vectors: what they find on kind and on hostile data, and how they are kept."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from mycelia_storage.indexes import Metric, VectorIndex
from mycelia_storage.nearest.hnsw import Graph
from mycelia_storage.nearest.rotation import rotation
from mycelia_storage.nearest.scan import ScanCodes
from mycelia_storage.similarity import scores

SEED = 20_261_121
Array = Any


def gaussian(rng: numpy.random.Generator, count: int, dimensions: int) -> Array:
    return rng.normal(size=(count, dimensions)).astype(numpy.float32)


def clustered(rng: numpy.random.Generator, count: int, dimensions: int) -> Array:
    centres = gaussian(rng, 40, dimensions)
    return centres[rng.integers(0, 40, count)] + 0.5 * gaussian(rng, count, dimensions)


def offset(rng: numpy.random.Generator, count: int, dimensions: int) -> Array:
    return clustered(rng, count, dimensions) + 3


def of_many_norms(rng: numpy.random.Generator, count: int, dimensions: int) -> Array:
    return clustered(rng, count, dimensions) * rng.lognormal(0, 0.7, (count, 1)).astype(numpy.float32)


def sparse(rng: numpy.random.Generator, count: int, dimensions: int) -> Array:
    kept = rng.random((count, dimensions)) < 0.05
    kept[:, 0] = True
    return numpy.where(kept, gaussian(rng, count, dimensions), 0).astype(numpy.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("kind", [gaussian, clustered, offset, of_many_norms, sparse])
def test_the_nearest_are_among_the_first_codes(kind: Any, metric: Metric) -> None:
    rng = numpy.random.default_rng(SEED)
    vectors, queries = kind(rng, 3_000, 256), kind(rng, 20, 256)
    index = VectorIndex(256, metric)
    codes = ScanCodes.fitted(index, vectors)
    codes.add(vectors)
    assert codes.count == 3_000
    assert not codes.has_drifted()
    agreed = 0
    for query in queries:
        wanted = set(numpy.argsort(-scores(vectors, query, metric))[:10].tolist())
        found, distances = codes.nearest(query, 200, None)
        assert (numpy.diff(distances) >= 0).all()
        agreed += len(wanted.intersection(found.tolist()))
    assert agreed >= 0.95 * 200, f"seed {SEED}"


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 8, 31, 100])
@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_every_number_of_dimensions(dimensions: int, metric: Metric) -> None:
    rng = numpy.random.default_rng(SEED)
    vectors = gaussian(rng, 200, dimensions)
    codes = ScanCodes.fitted(VectorIndex(dimensions, metric), vectors)
    codes.add(vectors)
    found, _ = codes.nearest(vectors[7], 200, None)
    assert sorted(found.tolist()) == list(range(200))


@pytest.mark.parametrize("dimensions", [1, 2, 6, 384, 385])
def test_the_rotation_keeps_lengths_and_mixes(dimensions: int) -> None:
    turned = rotation(dimensions)
    assert numpy.allclose(turned @ turned.T, numpy.eye(dimensions), atol=1e-5)
    if dimensions > 100:
        assert numpy.abs(turned).max() < 0.6


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_extremes_are_coded_somehow(metric: Metric) -> None:
    vectors = numpy.array([[1e38, -1e38], [1e-38, 1e-40], [3e38, 3e38], [-1, 0], [0, 1]], dtype=numpy.float32)
    codes = ScanCodes.fitted(VectorIndex(2, metric), vectors[:4])
    codes.add(vectors)
    assert sorted(codes.nearest(vectors[0], 5, None)[0].tolist()) == [0, 1, 2, 3, 4]


def test_a_mask_says_where_to_look() -> None:
    rng = numpy.random.default_rng(SEED)
    vectors = clustered(rng, 1_000, 16)
    codes = ScanCodes.fitted(VectorIndex(16), vectors)
    codes.add(vectors)
    allowed = rng.random(1_000) < 0.05
    found, _ = codes.nearest(vectors[3], 1_000, allowed)
    assert set(found.tolist()) == set(numpy.flatnonzero(allowed).tolist())
    assert codes.nearest(vectors[3], 10, numpy.zeros(1_000, dtype=bool))[0].tolist() == []


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_what_is_stored_comes_back(metric: Metric) -> None:
    rng = numpy.random.default_rng(SEED)
    index, vectors = VectorIndex(17, metric), clustered(rng, 777, 17)
    codes = ScanCodes.fitted(index, vectors)
    codes.add(vectors)
    stored = codes.to_bytes()
    again = ScanCodes.from_bytes(index, stored)
    assert again is not None
    for query in vectors[:10]:
        assert again.nearest(query, 30, None)[0].tolist() == codes.nearest(query, 30, None)[0].tolist()
    again.add(vectors[:5])
    codes.add(vectors[:5])
    assert again.to_bytes() == codes.to_bytes()


def test_what_was_damaged_is_not_taken() -> None:
    rng = numpy.random.default_rng(SEED)
    index, vectors = VectorIndex(8), clustered(rng, 100, 8)
    codes = ScanCodes.fitted(index, vectors)
    codes.add(vectors)
    stored = codes.to_bytes()
    assert ScanCodes.from_bytes(VectorIndex(10), stored) is None
    for cut in (0, 3, 20, len(stored) - 1):
        assert ScanCodes.from_bytes(index, stored[:cut]) is None
    for place in (0, 5, 10, 40, len(stored) // 2, len(stored) - 1):
        damaged = bytearray(stored)
        damaged[place] ^= 0xFF
        assert ScanCodes.from_bytes(index, bytes(damaged)) is None, place


def test_codes_tell_when_their_vectors_have_moved() -> None:
    rng = numpy.random.default_rng(SEED)
    codes = ScanCodes.fitted(VectorIndex(16, "l2"), gaussian(rng, 500, 16))
    codes.add(gaussian(rng, 500, 16))
    assert not codes.has_drifted()
    codes.add(gaussian(rng, 500, 16) + 2)
    assert codes.has_drifted()
    sample = gaussian(rng, 500, 16)
    codes = ScanCodes.fitted(VectorIndex(16, "dot"), sample)
    codes.add(sample)
    assert not codes.has_drifted()
    codes.add(3 * sample[:2])
    assert codes.has_drifted()


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_a_graph_finds_most_and_comes_back(metric: Metric) -> None:
    rng = numpy.random.default_rng(SEED)
    index, vectors = VectorIndex(16, metric, index="hnsw", ef=100), clustered(rng, 1_000, 16)
    codes = ScanCodes.fitted(index, vectors)
    codes.add(vectors)
    graph = Graph(index, codes)
    graph.add(vectors)
    stored = graph.to_bytes()
    again = Graph.from_bytes(index, codes, stored)
    assert again is not None
    agreed = 0
    for query in clustered(rng, 20, 16):
        wanted = set(numpy.argsort(-scores(vectors, query, metric))[:10].tolist())
        found = graph.nearest(query, 50)
        assert again.nearest(query, 50) == found
        agreed += len(wanted.intersection(found))
    assert agreed >= 0.95 * 200, f"seed {SEED}"
    again.add(vectors[:3])
    assert again.count == 1_003


def test_a_graph_that_would_lead_astray_is_not_taken() -> None:
    import zlib

    rng = numpy.random.default_rng(SEED)
    index, vectors = VectorIndex(8, index="hnsw", m=4), gaussian(rng, 100, 8)
    codes = ScanCodes.fitted(index, vectors)
    codes.add(vectors)
    graph = Graph(index, codes)
    graph.add(vectors)
    stored = graph.to_bytes()
    header = len(stored) - len(stored[36:])
    for place, value in ((36, 70), (36 + 400, 100), (36 + 400, -2)):  # a level too high, links beyond both ends
        damaged = bytearray(stored)
        damaged[place : place + 4] = value.to_bytes(4, "little", signed=True)
        damaged[header - 4 : header] = zlib.crc32(damaged[header:]).to_bytes(4, "little")
        assert Graph.from_bytes(index, codes, bytes(damaged)) is None, (place, value)
    assert Graph.from_bytes(index, codes, stored[:-1]) is None
    assert Graph.from_bytes(VectorIndex(8, index="hnsw", m=5), codes, stored) is None
