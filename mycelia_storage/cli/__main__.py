"""``python -m mycelia_storage.cli``."""

from . import main

main()
