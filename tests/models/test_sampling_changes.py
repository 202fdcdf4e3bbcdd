"""The names by which sampling is changed are listed once, in ``config/sampling/changes.yaml``, and completely."""

from dataclasses import fields

from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.core.config import load_group


def test_the_changes_of_sampling_are_listed_completely() -> None:
    changes = load_group("sampling", "changes")
    known = {field.name for field in fields(SamplingConfig)} | {"steps", "temperature", "cfg_scale"}
    assert set(changes) == known and set(changes.values()) == {None}
