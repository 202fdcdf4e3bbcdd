"""Makes the helpers beside the tests importable, and offers the small model as a fixture."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from models_under_test import small_model


@pytest.fixture
def model():
    return small_model()
