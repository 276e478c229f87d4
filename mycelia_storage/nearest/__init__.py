"""Nearest vectors in one process: what the backends without an index of their own for vectors search with.

The vectors are entries; everything here is derived from them, held in memory, and can be thrown away. A backend logs
which entries of an indexed namespace change (:class:`~.source.VectorSource` says what it has to give). A
:class:`~.index.NearestIndex` covers the log up to some seq and catches up before each search, so that a search sees
what its view of the storage sees, whoever wrote it.

``source`` what a backend gives · ``index`` the state that catches up · ``search`` one search · ``likeness`` whether
anything is as near as that · ``resident`` vectors in memory, for small sets · ``scan`` codes of four bits for every two
dimensions, for larger ones · ``hnsw`` a graph, for very large ones · ``settings`` where one gives way to the next ·
``columns`` and ``key_ranges`` fields and keys of entries, to turn a filter into positions · ``rotation`` and
``codebook`` what the codes are made with.
"""
