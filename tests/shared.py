"""The folder of reference material beside a development checkout; a user's machine does not have it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the reference data beside the checkout (../shared)"
)
