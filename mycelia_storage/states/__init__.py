"""The contract over a *state*: what the backends that live in one process, memory and RocksDB, have in common.

A state is everything stored at one moment. A write makes the next state from the one before, and a commit puts it in
its place; a savepoint is a reference to an earlier state. A backend brings a state of its own kind and says how one is
committed. All rules of the contract are here.

``state`` what a backend brings · ``draft`` makes the next state, with every rule · ``reading`` and ``writing`` the
contract over a state · ``transactions`` · ``storage`` the backend's frame · ``turn`` one writer at a time ·
``ordered`` a sorted map that is copied in no time · ``settings`` the options that all have · ``unique``, ``texts`` and
``vectors`` what indexes need.
"""
