"""Do codes hold the grasps that they are of, and does a diffusion of codes do all that one of states does?"""

from copy import deepcopy
from functools import cache
from pathlib import Path

import hydra
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch.testing import assert_close

from factories.models import (
    awake,
    losses_of,
    scene_batch,
    set_statistics_from,
    small_generator,
    small_module,
    small_objective,
)
from factories.views import CLOUD, cloud
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.assembly import check_data
from sceneleapultra.models.bundle.probe import probe_request
from sceneleapultra.models.bundle.write import write_bundle
from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_vae import load_grasp_vae
from sceneleapultra.models.module import GraspModule, build_module
from sceneleapultra.models.network.autoencoder import AutoencoderConfig
from sceneleapultra.models.network.hand_encoder import HandEncoderConfig
from sceneleapultra.models.objectives.states import StateError
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.models.statistics import statistics_settings
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.torch_files import read_torch
from sceneleapultra.utils.requests import GraspRequest, Target

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
BATCH = scene_batch(num_grasps=6)
LEVELS = "model.generator.encoder.levels"
SIZES = (
    "model/generator/encoder=pointnet2_small",
    *(f"{LEVELS}.{name}.{key}" for name, key in (("fine", "centers=48"), ("coarse", "centers=24"))),
    *(f"{LEVELS}.{name}.widths=[8]" for name in ("fine", "coarse")),
    "model.generator.encoder.dim=16",
    "model.generator.representation.autoencoder={code: 12, width: 64, depth: 1}",
    "data.grasps.number=6",
    "model.objective.anchors.reach=1.0",
)
LATENT = (
    *("model=grasp_latent", "model.objective.vae=''", "model.generator.decoder.dim=32"),
    *("model.generator.decoder.depth=1", "model.generator.decoder.heads=2"),
    *("model.generator.heads.score.widths=[8,8]", "model.generator.heads.score.dim=16"),
)


@cache
def composed(*words: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose("config", overrides=[*words, *SIZES])


def module_of(cfg: DictConfig, changes: dict) -> GraspModule:
    torch.manual_seed(0)
    cfg = deepcopy(cfg)
    for key, value in changes.items():
        OmegaConf.update(cfg.model, key, value, merge=False)
    parts = {name: build(cfg[name]) for name in ("optimizer", "scheduler")}
    return build_module(cfg.model, cloud={"frame": "tabletop"}, **parts)


def autoencoder(**changes) -> GraspModule:
    return module_of(composed("model=grasp_vae"), changes)


def latent(vae: str, **changes) -> GraspModule:
    return module_of(composed(*LATENT), {"objective.vae": vae, **changes})


def woken(module: GraspModule) -> GraspModule:
    """Let all parts say something, and the autoencoder what it learned."""
    own = deepcopy(module.generator.autoencoder.state_dict())
    awake(module).generator.autoencoder.load_state_dict(own)
    return module.eval()


def saved(module: GraspModule, path: Path) -> str:
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return str(path)


def learned(module: GraspModule, steps: int, rate: float) -> list[float]:
    """Train on one batch, and return the loss of each step."""
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], rate)
    losses = []
    for step in range(steps):
        loss = module.objective.total(losses_of(module, BATCH, step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the checkpoint of an autoencoder that has not learned, with the statistics of a batch."""
    module = autoencoder()
    set_statistics_from(module, BATCH)
    return saved(module, tmp_path_factory.mktemp("vae") / "vae.ckpt")


@pytest.fixture(scope="module")
def model(vae: str) -> GraspModule:
    """Return a diffusion of codes with the statistics of a batch."""
    module = woken(latent(vae))
    set_statistics_from(module, BATCH)
    return module


def test_a_code_is_the_mean_of_its_posterior_and_drawn_about_it_in_training_alone(vae: str) -> None:
    codes = load_grasp_vae(vae).vae
    states = torch.randn(2, 5, 41)
    mean, log_variance = codes.posterior(states)
    assert torch.equal(codes.encode(states), mean) and mean.shape == log_variance.shape == (2, 5, 12)
    assert_close(codes.encode(states[:, 3:]), mean[:, 3:])  # of each grasp by itself
    module = autoencoder()
    context = {t: module.context_of(BATCH, step=0, training=t) for t in (True, False)}
    for training, one in context.items():
        decoded = module.generator.vae.decode(one.code[0])
        assert torch.equal(one.x0_hat, decoded) is not training
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(codes.decode(codes.encode(states)), codes.decode(mean))


def test_only_the_autoencoder_is_trained() -> None:
    module = autoencoder()
    before = {name: p.clone() for name, p in module.generator.named_parameters()}
    losses = learned(module, 3, 1e-3)
    changed = {name for name, p in module.generator.named_parameters() if not torch.equal(p, before[name])}
    assert losses[-1] < losses[0] and changed == {name for name in before if name.startswith("vae.")}


def test_clean_states_are_standardized_codes_and_come_back_as_the_autoencoder_decodes_them(
    vae: str, model: GraspModule
) -> None:
    generator, trained = model.generator, load_grasp_vae(vae)
    context = model.context_of(BATCH, step=0, training=False)
    codes = context.grasps.clean.flatten(0, 1)
    assert codes.shape == (18, 12)
    # Strays aside: the statistics are those of values cut to their percentiles.
    assert codes.mean(0).abs().max() < 0.1 and (codes.std(0) - 1.0).abs().max() < 0.1
    metric = generator.states(context.pose, context.squeeze_qpos, context.tokens, context.index)
    assert_close(metric, trained.states(context.pose, context.squeeze_qpos, context.tokens, context.index))
    normalized = trained.normalizer.normalize(metric)
    assert_close(context.grasps.states, normalized)  # what heads read
    decoded = trained.normalizer.denormalize(trained.vae.decode(trained.vae.encode(normalized)))
    assert_close(generator.metric(generator.clean(metric)), decoded, atol=1e-4, rtol=1e-4)
    assert generator.names == [f"code_{i}" for i in range(12)]


def test_the_diffusion_learns_and_leaves_the_autoencoder_alone(vae: str) -> None:
    module = latent(vae)
    set_statistics_from(module, BATCH)
    before = {name: p.clone() for name, p in module.generator.named_parameters()}
    losses = learned(module, 4, 3e-3)
    same = {name for name, p in module.generator.named_parameters() if torch.equal(p, before[name])}
    assert losses[-1] < losses[0]
    assert {name.split(".")[0] for name in same} == {"autoencoder"}


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance": "physics_collision_free"},
        pytest.param({"guidance": "score"}, marks=pytest.mark.slow),
        pytest.param({"rank": "log_prob"}, marks=pytest.mark.slow),
    ],
)
def test_sampling_guidance_and_ranks_work_in_codes(model: GraspModule, changes: dict) -> None:
    """Guidance and solvers move the grasps, a rank does not."""
    one = BATCH.item(0)
    made, plain = (
        model.generator.sample(one, 3, seeds=[1], sampling={"steps": 2, "rank": "none", **c})
        for c in (changes, {})
    )
    assert made.hand_pose.shape == (1, 3, 23) and made.hand_pose.isfinite().all()
    assert made.score.isfinite().all() or "rank" not in changes
    assert torch.equal(made.hand_pose, plain.hand_pose) is ("rank" in changes)


def test_a_checkpoint_stands_alone(vae: str, model: GraspModule, tmp_path: Path) -> None:
    """The autoencoder travels in it: its own file is not needed."""
    copy = tmp_path / "vae.ckpt"
    copy.write_bytes(Path(vae).read_bytes())
    module = woken(latent(str(copy)))
    set_statistics_from(module, BATCH)
    path = saved(module, tmp_path / "latent.ckpt")
    copy.unlink()
    loaded, _ = load_generator(path)
    one, two = (
        g.sample(BATCH.item(0), 2, seeds=[1], sampling={"steps": 2}) for g in (module.generator, loaded)
    )
    assert torch.equal(one.hand_pose, two.hand_pose)


def test_a_bundle_makes_the_same_grasps(model: GraspModule, tmp_path: Path) -> None:
    points, mask = cloud(400)
    asked = GraspRequest.from_points(
        points, target=Target(mask=mask), up=(0.0, 0.0, 1.0), viewpoint=(0.5, 0.0, 0.5)
    )
    held = GraspModel(generator=model.generator, cloud_settings=CLOUD)
    write_bundle(held, probe_request(asked), tmp_path / "bundle")
    loaded = load_grasp_model(tmp_path / "bundle")
    one, two = (
        m.sample_request(asked, 3, seed=1, sampling={"steps": 2, "rank": "none"}) for m in (held, loaded)
    )
    assert (one.hand_pose == two.hand_pose).all()


def test_statistics_are_those_of_one_autoencoder(vae: str, tmp_path: Path) -> None:
    module = latent(vae)
    other = autoencoder()
    with torch.no_grad():
        other.generator.vae.encoder[0].weight.add_(0.1)
    one, two = (statistics_settings(m) for m in (module, latent(saved(other, tmp_path / "other.ckpt"))))
    assert one is not None and two is not None and one != two
    assert one == statistics_settings(latent(vae))


CODES = PoseRepresentation(
    anchored=True, reference_depth=0.07, autoencoder=AutoencoderConfig(code=4, width=8, depth=1)
)


def prepare(vae: str, generator: GraspGenerator) -> None:
    cfg = deepcopy(composed(*LATENT))
    cfg.model.objective.vae = vae
    build(cfg.model.objective).prepare(generator)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"hand": "leap_left"},
            r"of hand=leap_left, model\.generator\.hand=leap_right\. Pass hand=leap_left",
        ),
        ({"representation.reference_depth": 0.05}, r"representation\.reference_depth=0\.05, .*=0\.07\. Pass"),
        ({"representation.anchored": False}, r"anchored=False, .*=True\. Pass .*anchored=false"),
        (
            {"representation.autoencoder.code": 8},
            r"of shape \(16,.* this model .*\(24,.*representation\.autoencoder",
        ),
    ],
)
def test_another_autoencoder_than_the_diffusion_needs_is_refused(
    model: GraspModule, tmp_path: Path, changes: dict, sentence: str
) -> None:
    other = autoencoder(**{f"generator.{key}": value for key, value in changes.items()})
    with pytest.raises(ValueError, match=sentence):
        prepare(saved(other, tmp_path / "vae.ckpt"), model.generator)


def test_what_is_no_autoencoder_and_what_needs_none_is_refused(
    vae: str, model: GraspModule, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt"):
        prepare(str(tmp_path / "nowhere.ckpt"), model.generator)
    path = saved(model, tmp_path / "latent.ckpt")
    with pytest.raises(ValueError, match=r"holds a GraspGenerator, not a GraspVAE\. .*experiment=grasp_vae"):
        prepare(path, model.generator)
    with pytest.raises(ValueError, match=r"autoencoder=null denoises states\. Pass model=grasp_latent"):
        prepare(vae, small_generator())
    with pytest.raises(ValueError, match=r"an autoencoder of grasps, which samples none\. .*objective\.vae="):
        load_generator(vae)
    with pytest.raises(ValueError, match=r"grasp_reconstruction trains an autoencoder.*Pass model=grasp_vae"):
        autoencoder().objective.prepare(model.generator)
    with pytest.raises(ValueError, match=r"group=joints, but the model denoises code\. Codes go with"):
        StateError(group="joints", weight=1.0)(model.context_of(BATCH, step=0, training=True))
    with pytest.raises(ValueError, match=r"autoencoder\.width: expected at least 1, got 0"):
        AutoencoderConfig(code=4, width=0, depth=1)
    many = HandEncoderConfig(dim=16, depth=1, heads=2, adapter_rank=None)
    with pytest.raises(ValueError, match=r"an autoencoder is of one\. Pass"):
        small_generator(hand_encoder=many, representation=CODES)


def test_an_autoencoder_that_learned_nothing_is_refused() -> None:
    generator = small_generator(representation=CODES)
    data = build(composed(*LATENT).data)
    with pytest.raises(ValueError, match=r"autoencoder learned nothing.*Pass model=grasp_latent"):
        check_data(small_module(generator, small_objective(num_grasps=6)), data)


def test_data_in_another_frame_than_the_autoencoder_learned_from_are_refused(model: GraspModule) -> None:
    data = build(composed(*LATENT).data)
    check_data(model, data)
    other = OmegaConf.merge(composed(*LATENT).data, {"cloud": {"frame": "object_centric"}})
    with pytest.raises(ValueError, match=r"learned grasps in frame 'tabletop'.*frame=object_centric"):
        check_data(model, build(other))


def test_a_file_of_an_autoencoder_holds_no_more_than_it(vae: str) -> None:
    names = {name.split(".")[1] for name in read_torch(Path(vae))["state_dict"]}
    assert names == {"normalizer", "encoder", "vae"}
