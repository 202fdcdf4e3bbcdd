"""How keys of version 0.1 are called now, for an answer to whoever still types the old name."""

from collections.abc import Mapping

RENAMED_KEYS: Mapping[str, str] = {
    "data.frame": "data.cloud.frame",
    "data.num_points": "data.cloud.num_points",
    "data.target_share": "data.cloud.target_share",
    "data.crop_radius": "data.cloud.crop_radius",
    "data.points": "data.cloud.points",
    "data.num_grasps": "data.grasps.number",
    "data.num_failures": "data.grasps.failures",
    "data.grasp_strategy": "data.grasps.strategy",
    "data.grasp_chunks": "data.grasps.partition",
    "data.grasp_shares": "data.grasps.shares",
    "data.grasp_distance": "data.grasps.distance",
    "data.min_robustness": "data.grasps.min_robustness",
    "data.min_clearance_m": "data.grasps.min_clearance_m",
    "data.num_workers": "data.loading.workers",
    "data.prefetch": "data.loading.prefetch",
    "data.cache_mb": "data.loading.cache_mb",
    "data.staging": "data.loading.staging",
    "data.augment_on": "data.loading.augment_on",
    "data.max_bad_fraction": "data.loading.max_bad_fraction",
    "data.quarantine": "data.loading.quarantine",
    "data.seed": "data.loading.seed",
}


def new_name(key: str) -> str | None:
    """Return what a key of 0.1, or a key below a renamed group, is called now; None where it was not renamed."""
    head = key
    while head:
        if head in RENAMED_KEYS:
            return RENAMED_KEYS[head] + key[len(head) :]
        head = head.rpartition(".")[0]
    return None
