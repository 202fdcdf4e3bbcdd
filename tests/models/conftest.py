"""Makes the helpers beside the tests importable, and offers the small model as a fixture."""

import pytest

from factories.models import small_module


@pytest.fixture
def model():
    return small_module()
