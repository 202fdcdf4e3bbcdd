"""Names of 0.1 that have changed: for one version a user who types an old one is told the new one."""

from collections.abc import Mapping

SINCE = "0.2"

# Full configuration keys and groups, old to new; an old key that holds others stands for all below it.
RENAMED_KEYS: Mapping[str, str] = {
    "scene.settle_time_s": "scene.settling.time_s",
    "scene.damping_time_s": "scene.settling.damping_time_s",
    "scene.rest_speed_m_s": "scene.settling.rest_speed_m_s",
    "scene.rest_speed_rad_s": "scene.settling.rest_speed_rad_s",
    "scene.stability_time_s": "scene.settling.stability_time_s",
    "scene.max_drift_m": "scene.settling.max_drift_m",
    "scene.patience": "scene.settling.patience",
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
    "model.hand": "model.generator.hand",
    "model.encoder": "model.generator.encoder",
    "model.decoder": "model.generator.decoder",
    "model.conditions": "model.generator.conditions",
    "model.scorer": "model.generator.heads.score",
    "model.path": "model.generator.process.noise",
    "model.prediction": "model.generator.process.prediction",
    "model.latent_dim": "model.generator.process.latent_dim",
    "model.reference_depth": "model.generator.representation.reference_depth",
    "model.representation": "model.generator.representation.anchored",
    "model.contact_points": "model.generator.contact_points",
    "model.scene_drop_prob": "model.generator.condition_dropout.scene",
    "model.color_drop_prob": "model.generator.condition_dropout.color",
    "model.compile": "model.generator.compile",
    "model.sampler": "sampling.solver",
    "model.anchor_temperature": "sampling.anchor_temperature",
    "model.pregrasp_opening": "sampling.pregrasp_opening",
    "model.squeeze_gain": "sampling.squeeze_gain",
    "model.weighting": "model.objective.weighting",
    "model.anchor_softness": "model.objective.anchors.softness",
    "model.anchor_reach": "model.objective.anchors.reach",
    "model.num_grasps": "model.objective.num_grasps",
    "model.loss_weights.anchor": "model.objective.terms.anchors.weight",
    "model.density.feature_weight": "model.objective.terms.sparse_features.weight",
    "model.density.prediction_weight": "model.objective.terms.sparse_prediction.weight",
    "model.density": "model.objective.sparse_view",
    "model.free_nats": "model.objective.terms.kl.free_nats",
    "model.seed": "model.objective.seed",
    "model.teacher": "model.generator.teacher",
    "model.target_decay": "model.objective.target_decay",
    "model.intervals": "model.objective.intervals",
    "model.masking": "model.objective.masking",
    "sampler.name": "sampling.solver",
    "sampler": "sampling",
    "guidance.classifier_free.scale": "sampling.cfg_scale",
    "guidance": "sampling.guidance",
    "rank": "sampling.rank",
    # Groups, which are chosen on the command line.
    "model/encoder": "model/generator/encoder",
    "model/decoder": "model/generator/decoder",
    "model/conditions": "model/generator/conditions",
    "model/scorer": "model/generator/heads/score",
    "model/process@model.path": "model/generator/process",
    "model/weighting": "model/objective/weighting",
    "model/sampler": "sampling/solver",
    "protocol.timestep_s": "protocol.physics.timestep_s",
    "protocol.integrator": "protocol.physics.integrator",
    "protocol.cone": "protocol.physics.cone",
    "protocol.impratio": "protocol.physics.impratio",
    "protocol.noslip_iterations": "protocol.physics.noslip_iterations",
    "protocol.friction": "protocol.physics.friction",
    "protocol.condim": "protocol.physics.condim",
    "protocol.hand_solimp": "protocol.physics.hand_solimp",
    "protocol.hand_solref": "protocol.physics.hand_solref",
    "protocol.weld_solimp": "protocol.physics.weld_solimp",
    "protocol.weld_torque_scale": "protocol.physics.weld_torque_scale",
    "protocol.metric_margin_m": "protocol.contacts.metric_margin_m",
    "protocol.touch_distance_m": "protocol.contacts.touch_distance_m",
    "protocol.waypoints": "protocol.trial.approach.waypoints",
    "protocol.steps_per_waypoint": "protocol.trial.approach.steps_per_waypoint",
    "protocol.max_penetration_m": "protocol.trial.approach.max_penetration_m",
    "protocol.max_displacement_m": "protocol.trial.approach.max_displacement_m",
    "protocol.max_angle_deg": "protocol.trial.approach.max_angle_deg",
    "protocol.object_mass_kg": "protocol.trial.object_mass_kg",
    "protocol.force_n_per_kg": "protocol.trial.force_n_per_kg",
    "protocol.directions": "protocol.trial.directions",
    "protocol.hold_blocks": "protocol.trial.hold_blocks",
    "protocol.hold_steps_per_block": "protocol.trial.hold_steps_per_block",
    "protocol.lift_m": "protocol.trial.lift_m",
    "conversion.workers": "conversion.executor.workers",
    "conversion.studio": "conversion.renderer",
    "data.conversion.workers": "data.conversion.executor.workers",
    "data.conversion.studio": "data.conversion.renderer",
    **{
        f"{root}conversion.{key}": f"{root}conversion.{group}.{key}"
        for root in ("", "data.")
        for group, keys in {
            "grasps": ("max_grasps", "open_rad", "squeeze_rad", "max_wrist_motion_m", "max_wrist_motion_deg"),
            "points": ("object_points", "table_points", "table_margin_m"),
        }.items()
        for key in keys
    },
    **{
        f"baselines.nearest_view.{key}": f"baselines.nearest_view.matching.{key}"
        for key in ("points", "coarse_points", "shortlist", "turns", "refined", "alignment_steps")
    },
}

# Flags of a program, old to new; a program without flags takes ``key=value`` words instead.
RENAMED_FLAGS: dict[str, dict[str, str]] = {
    "convert": {"--format": "conversion=<format>, with source=<folder> dest=<store>"},
    "predict": {
        "--sampler": "--sampling.solver",
        "--steps": "--sampling.steps",
        "--temperature": "--sampling.temperature",
        "--guidance": "--sampling.guidance",
        "--cfg-scale": "--sampling.cfg-scale",
        "--negative-prompt": "--negative-prompts",
    },
    "self_training": {
        "--checkpoint": "checkpoint=<value>",
        "--store": "store=<value>",
        "--output": "output=<value>",
        "--scenes": "scenes=<value>",
        "--per-object": "per_object=<value>",
        "--candidates": "candidates=<value>",
        "--rank": "sampling.rank=<value>",
        "--temperatures": "temperatures=[<values>]",
        "--squeeze-gains": "squeeze_gains=[<values>]",
        "--sampler": "sampling.solver=<value>",
        "--steps": "sampling.steps=<value>",
        "--guidance": "sampling.guidance=<value>",
        "--min-points": "min_points=<value>",
        "--protocol": "protocol=<value>",
        "--workers": "workers=<value>",
        "--device": "device=<value>",
        "--seed": "seed=<value>",
    },
}

# Options of groups that are chosen by name: group -> old option -> new, or the whole word where the group is another.
RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "experiment": {
        "distill": "experimental=distill",
        "pretrain_encoder": "experimental=pretrain_encoder",
    },
    "sampling/guidance": {"hold": "stable", "physics_clear": "physics_collision_free"},
    "sampling/rank": {"hold": "stable"},
}


def new_name(key: str) -> str | None:
    """Return what a key of 0.1, or a key below a renamed group, is called now; None where it was not renamed."""
    head = key
    while head:
        if head in RENAMED_KEYS:
            return RENAMED_KEYS[head] + key[len(head) :]
        head = head.rpartition(".")[0]
    return None


def renamed_flags(program: str, argv: list[str]) -> list[str]:
    """Return a sentence for every flag of an earlier version on a command line."""
    names = RENAMED_FLAGS.get(program, {})
    typed = [word.partition("=")[0] for word in argv]
    return [f"{flag} is called {names[flag]} since {SINCE}." for flag in typed if flag in names]
