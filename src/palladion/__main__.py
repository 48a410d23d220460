"""``python -m palladion``."""

from palladion.cli import main

main()
