"""A name of 0.1 that is chosen from a group is answered with today's name, which exists."""

import pytest

from factories.models import small_sampling
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.renamed import RENAMED_OPTIONS

PAIRS = [
    (group, old, new)
    for group, names in RENAMED_OPTIONS.items()
    if group.startswith("sampling/")
    for old, new in names.items()
]


@pytest.mark.parametrize(("group", "old", "new"), PAIRS)
def test_an_old_option_names_the_new_one(group: str, old: str, new: str) -> None:
    assert (CONFIG_DIR / group / f"{new}.yaml").is_file() and not (
        CONFIG_DIR / group / f"{old}.yaml"
    ).exists()
    name = group.rsplit("/", 1)[1]
    with pytest.raises(ValueError, match=rf"sampling\.{name}={old} is called {new} since 0\.2\."):
        small_sampling().changed(**{name: old})
