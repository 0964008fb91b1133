"""Where the files of the repository are, for tests in whatever room."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
