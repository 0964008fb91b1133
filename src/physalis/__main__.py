"""``python -m physalis``, and the command ``physalis``. Signals are listened to before anything else is imported."""

from physalis.stopping import leaving, listening


def main() -> None:
    """Run the command line."""
    with leaving(), listening():
        from physalis.cli import main as run

        run()


if __name__ == "__main__":
    main()
