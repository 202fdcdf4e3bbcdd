"""Offers a small generator, and the module that trains one, as fixtures."""

import pytest

from factories.models import small_generator, small_module


@pytest.fixture
def generator():
    return small_generator()


@pytest.fixture
def model():
    return small_module()
