"""Completions drawn by diffusion: codes of scenes from noise, given what one view shows, decoded to distances."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.completion.completer import Completer
from sceneleapultra.models.completion.network import ResBlock3D, VoxelEncoder, finer
from sceneleapultra.models.completion.vae import CELL, FieldVAE, active_cells
from sceneleapultra.models.diffusion.process import States
from sceneleapultra.models.diffusion.solvers import Solver
from sceneleapultra.models.network.decoder.time import FourierTime, time_layers
from sceneleapultra.models.process import GenerativeProcess
from sceneleapultra.utils.geometry.voxels.observe import RESOLUTION, RESOLUTION_M

Features = list[Float[Tensor, "b _ _ _ _"]]


class LatentCompleter(Completer):
    """Draws any number of hypotheses of a scene.

    A state is all codes of one hypothesis in a row, so that processes and solvers treat the hypotheses of a scene as
    they treat the grasps of one. Hypothesis i begins with the same noise in every scene, however many are asked for.

    Args:
        dim: channels of what is observed at half of the grid's resolution; a multiple of 8.
        vae: whose codes are drawn; it is not trained here.
        process: how codes come from noise.
        solver: by which they do.
    """

    def __init__(self, *, dim: int, vae: FieldVAE, process: GenerativeProcess, solver: Solver) -> None:
        super().__init__(dim=dim, reach_m=vae.reach_m)
        process.check_solver(solver)
        self.vae, self.process, self.solver = vae.requires_grad_(False), process, solver
        self.encoder = VoxelEncoder(dim)
        self.decoder = CodeDenoiser(vae.channels, dim)

    def check_hypotheses(self, number: int) -> None:
        """Accept any."""

    def codes(self, distance: Float[Tensor, "b 2 x y z"]) -> States:
        """Return the state of each scene with these distances, one hypothesis each."""
        with torch.no_grad():
            return self.vae.encode(distance)[0].flatten(1)[:, None]

    def predict_x0(self, x_t: States, t: Float[Tensor, "b"], features: Features) -> States:
        """Return the clean states predicted from noised ones.

        Args:
            x_t: noised states.
            t: diffusion time of each scene.
            features: of ``encoder``.
        """
        number = x_t.shape[1]
        shape = -1, self.vae.channels, *(side // 2 for side in features[0].shape[2:])
        repeated = [part.repeat_interleave(number, dim=0) for part in features]

        level, _ = self.process.network_level(t)

        def network(state: Tensor) -> Tensor:
            made: Tensor = self.decoder(state.reshape(shape), level.repeat_interleave(number), repeated)
            return made.reshape(state.shape)

        return self.process.predict_x0(network, x_t, t)

    def complete(self, observed: Float[Tensor, "1 c x y z"], number: int) -> Float[Tensor, "k 2 x y z"]:
        """Draw hypotheses of the distances (m)."""
        features = self.encoder(observed)
        sides = [side // CELL for side in observed.shape[2:]]
        streams = [torch.Generator().manual_seed(i) for i in range(number)]

        def rng(like: Tensor) -> Tensor:
            rows = [torch.randn(like.shape[2], generator=stream) for stream in streams]
            return torch.stack(rows)[None].to(like)

        noise = rng(observed.new_empty(1, number, self.vae.channels * sides[0] * sides[1] * sides[2]))
        made = self.process.solve(
            self.solver, lambda x, t: self.predict_x0(x, t, features), noise, rng, trajectory=False
        )
        active = None
        if self.vae.tile is not None:
            voxel_m = float(observed[0, RESOLUTION, 0, 0, 0]) * RESOLUTION_M
            active = active_cells(observed, voxel_m, self.reach_m)
        return self.vae.decode(made.x0.reshape(number, self.vae.channels, *sides), active)


class CodeDenoiser(nn.Module):
    """A convolutional U-shape over the cells of codes, beside features of what is observed there."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        fine, coarse = (
            2 * dim,
            4 * dim,
        )  # as the encoder's at a quarter and an eighth of the grid's resolution
        self.time = nn.Sequential(FourierTime(coarse), time_layers(coarse, coarse))
        self.level_fine, self.level_coarse = nn.Linear(coarse, fine), nn.Linear(coarse, coarse)
        self.enter = nn.Conv3d(channels, fine, 3, padding=1)
        self.fine, self.down = ResBlock3D(fine), nn.Conv3d(fine, coarse, 4, stride=2, padding=1)
        self.coarse = nn.Sequential(ResBlock3D(coarse), ResBlock3D(coarse))
        self.up, self.last = nn.Conv3d(coarse, fine, 1), ResBlock3D(fine)
        self.leave = nn.Conv3d(fine, channels, 3, padding=1)

    def forward(
        self, code: Float[Tensor, "b c u v w"], level: Float[Tensor, "b"], features: Features
    ) -> Float[Tensor, "b c u v w"]:
        """Return what the process asks of a network, for noised codes at their noise level."""
        time = self.time(level)
        x = self.fine(self.enter(code) + features[1] + _over_cells(self.level_fine(time)))
        y = self.coarse(self.down(x) + features[2] + _over_cells(self.level_coarse(time)))
        made: Tensor = self.leave(self.last(x + finer(self.up(y))))
        return made


def _over_cells(x: Float[Tensor, "b c"]) -> Float[Tensor, "b c 1 1 1"]:
    return x[:, :, None, None, None]
