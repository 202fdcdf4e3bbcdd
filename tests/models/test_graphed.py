"""Does sampling by fixed sizes give what sampling gives, in tensors that stay, and does it say where it cannot?

The capture itself needs a GPU; all around it runs here with a call that is repeated as it is.
"""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import scene_batch, small_decoder, small_generator
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.graphed import GraphedSampler, Recorded, capture
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.encoder.ptv3.encoder import PTv3
from sceneleapultra.models.sampling import SampleRandom

COLUMNS = ("hand_pose", "pred_pose", "pregrasp_qpos", "squeeze_qpos", "score")
EAGER = {"steps": 4, "guidance": "none"}


def same(made, expected, tolerance: float = 1e-5) -> None:
    for name in COLUMNS:
        assert_close(getattr(made, name), getattr(expected, name), atol=tolerance, rtol=tolerance, msg=name)
    assert made.nfe == expected.nfe


def in_sizes(generator, **options) -> GraphedSampler:
    """Return a sampler that repeats its calls without a graph."""
    return GraphedSampler(generator, EAGER, record=lambda run: run, **options)


@pytest.mark.parametrize("set_attention", [False, True])
def test_padded_scenes_and_grasps_change_nothing(set_attention) -> None:
    generator = small_generator(decoder=small_decoder(DiTConfig, set_attention=set_attention))
    sampler, batch = in_sizes(generator, scenes=(1, 4), grasps=(3, 8)), scene_batch()
    for scenes, grasps in ((batch, 5), (batch.scenes(1, 2), 3), (batch.scenes(0, 2), 7)):
        seeds = list(range(scenes.size))
        expected = generator.sample(scenes, grasps, seeds=seeds, sampling=EAGER)
        made = sampler(scenes, grasps, seeds=seeds)
        assert made.hand_pose.shape[:2] == (scenes.size, grasps)
        same(made, expected)


def test_sizes_are_made_once_and_their_tensors_stay() -> None:
    generator, runs = small_generator(), []

    def record(run):
        runs.append(run)
        kept = run()  # what a graph writes into, every time

        def replay():
            made = run()
            for name in COLUMNS:
                getattr(kept, name).copy_(getattr(made, name))
            return kept

        return replay

    sampler = GraphedSampler(generator, EAGER, scenes=(1, 4), grasps=(8,), record=record)
    batch, seeds = scene_batch(), [4, 5, 6]
    first = sampler(batch, 6, seeds=seeds)
    (made,) = sampler._made.values()
    assert isinstance(made, Recorded)
    places = [x.data_ptr() for x in (made.clouds.scene_pc, made.numbers.noise, made.set_id)]
    before = first.hand_pose.clone()
    sampler(batch, 8, seeds=[7, 8, 9])
    again = sampler(batch, 6, seeds=seeds)
    assert len(runs) == 1, "one size, recorded once"
    assert places == [x.data_ptr() for x in (made.clouds.scene_pc, made.numbers.noise, made.set_id)]
    assert_close(first.hand_pose, before, atol=0.0, rtol=0.0)  # a result is a copy
    assert_close(again.hand_pose, before, atol=0.0, rtol=0.0)
    sampler(batch.scenes(0, 1), 8, seeds=[1])
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        ({"guidance": "physics"}, "guidance is on; pass sampling guidance=none and cfg_scale=1"),
        ({"guidance": "none", "cfg_scale": 2.0}, "guidance is on"),
        ({"guidance": "none", "solver": "dopri5"}, "solver=dopri5 chooses its steps on the way"),
        ({"guidance": "none", "rank": "log_prob"}, "rank=LikelihoodRank is more than a network's output"),
    ],
)
def test_it_says_what_a_graph_cannot_hold(sampling, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        GraphedSampler(small_generator(), sampling, record=lambda run: run)


def test_it_says_what_else_stands_in_the_way(monkeypatch) -> None:
    generator, batch = small_generator(), scene_batch()
    with pytest.raises(ValueError, match=r"is on cpu; load it with device=cuda\. Or use generator\.sample"):
        GraphedSampler(generator, EAGER)
    noisy = GraphedSampler(generator, {**EAGER, "solver": "ddpm"}, record=lambda run: run)
    with pytest.raises(
        ValueError, match="the solver draws noise on its way, and a graph would repeat the same"
    ):
        noisy(batch, 4, seeds=[0, 1, 2])
    sampler = in_sizes(generator, scenes=(4,), grasps=(8,))
    with pytest.raises(ValueError, match=r"expected at most 8 grasps, got 9. Pass grasps=\(..., 9\)"):
        sampler(batch, 9, seeds=[0, 1, 2])
    with pytest.raises(ValueError, match="expected one per scene, 3, got 1"):
        sampler(batch, 8, seeds=[0])
    with pytest.raises(ValueError, match="takes no prompts: use"):
        sampler(replace(batch, positive_prompt=("mug",) * 3), 8, seeds=[0, 1, 2])
    monkeypatch.setattr(type(generator.encoder), "static_shapes", PTv3.static_shapes)
    with pytest.raises(ValueError, match="depend on the cloud; a graph's are fixed"):
        in_sizes(generator)


def test_numbers_are_those_of_the_seeds() -> None:
    """Drawn for as many grasps as are asked for, not for those of the size."""
    generator, batch = small_generator(), scene_batch(num_scenes=1)
    sampler = in_sizes(generator, scenes=(2,), grasps=(32,))
    sampler(batch, 5, seeds=[11])
    (made,) = sampler._made.values()
    rng = SampleRandom([11], torch.device("cpu"))
    assert_close(made.numbers.of_anchors[:1, :5], rng.gumbel(5, generator.encoder.num_tokens))
    assert_close(made.numbers.noise[:1, :5], rng(torch.empty(1, 5, generator.dim_input)))


@pytest.mark.gpu
def test_a_graph_is_what_is_sampled_eagerly_and_compiled() -> None:
    from benchmarks.sampling_cost import scene

    generator = load_grasp_model("leap_table", device="cuda").generator
    sampling, seeds = {"steps": 8, "guidance": "none"}, [0]
    graphed = GraphedSampler(generator, sampling, record=capture)
    for seed in (0, 1):  # the second cloud is replayed through the first's graph
        batch = scene(4000, seed).to("cuda")
        eager = generator.sample(batch, 90, seeds=seeds, sampling=sampling)
        made = graphed(batch, 90, seeds=seeds)
        generator.compiled = True
        compiled = generator.sample(batch, 90, seeds=seeds, sampling=sampling)
        generator.compiled = False
        for other in (made, compiled):  # a grasp next to two surface points alike may take either
            apart = (other.hand_pose - eager.hand_pose).abs().amax(-1)
            assert apart.median() < 1e-4 and (apart < 1e-3).float().mean() > 0.97
