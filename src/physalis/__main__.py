"""``python -m physalis`` runs the command line."""

from physalis.cli import main

main()
