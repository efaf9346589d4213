"""Where the files lie that come with Lovage and are no code: migrations, demo models, experiments.

In a checkout they stand beside this package; an installed wheel carries them inside it (`setup.py` copies
them). Knows no setting and opens no file.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def locate_shipped(name: str) -> Path:
    """The folder or file `name` (`alembic.ini`, `demo_models`, …) of this checkout or of the wheel."""
    inside = PACKAGE / "shipped_files"
    return (inside if inside.is_dir() else PACKAGE.parent) / name
