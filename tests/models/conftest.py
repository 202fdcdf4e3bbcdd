"""Makes the helpers beside the tests importable, and offers the small model as a fixture."""

import pytest

from factories.models import small_model


@pytest.fixture
def model():
    return small_model()
