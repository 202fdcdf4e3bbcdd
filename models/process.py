"""What a generator's network predicts, and how a solver turns noise into states with it.

``Diffusion`` predicts the expected clean state, ``ConsistencyDiffusion`` the end of the trajectory, ``LatentDecoding``
decodes the code of a CVAE in one evaluation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.diffusion.likelihood import FlowRank, log_likelihood
from sceneleapultra.models.diffusion.process import NoiseProcess, Prediction, States, like
from sceneleapultra.models.diffusion.solvers import Denoise, Rng, Samples, Solver

Network = Callable[[Tensor], Tensor]  # a state -> output, at a noise level it was told
_BOUNDARY = 0.05  # noise level, in standard deviations, below which a consistency model returns its input


class GenerativeProcess(nn.Module, ABC):
    """How states come from noise through a network."""

    @abstractmethod
    def input_dim(self, dim_state: int) -> int:
        """Return the length of what the network reads."""

    @abstractmethod
    def network_level(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Return what a network is told at these times: the noise level, and the share of x0 in a state."""

    @abstractmethod
    def evaluation_times(self, solver: Solver, like: Tensor) -> Float[Tensor, "n"] | None:
        """Return the times of a solver's evaluations, in their order; None where its run decides."""

    @abstractmethod
    def predict_x0(self, network: Network, x_t: States, t: Float[Tensor, "b"]) -> Float[Tensor, "b g o"]:
        """Return the clean states that a network predicts from noised ones."""

    @abstractmethod
    def check_solver(self, solver: Solver) -> None:
        """Refuse a solver for another kind of process.

        Raises:
            ValueError: with both names and the remedy.
        """

    @abstractmethod
    def solve(
        self, solver: Solver, denoise: Denoise, noise: States, rng: Rng, *, trajectory: bool
    ) -> Samples:
        """Turn unit noise into clean states.

        Raises:
            ValueError: a solver for another kind of process, or a trajectory where there is none.
        """

    @abstractmethod
    def flow_score(self, denoise: Denoise, states: States, rank: FlowRank, rng: Rng) -> Float[Tensor, "b k"]:
        """Return the log-likelihood of clean states under the model's probability flow.

        Raises:
            ValueError: a process without a flow.
        """

    def set_sigma_data(self, spread: float) -> None:
        """Take in the standard deviation of clean normalized states."""


class Diffusion(GenerativeProcess):
    """A noise process with a prediction type.

    Args:
        noise: the noise process.
        prediction: what the network outputs.
    """

    def __init__(self, *, noise: NoiseProcess, prediction: Prediction) -> None:
        super().__init__()
        noise.check(prediction)
        self.noise, self.prediction = noise, prediction

    def input_dim(self, dim_state: int) -> int:
        """Return the length of a state."""
        return dim_state

    def network_level(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Return those of the noise process."""
        return self.noise.network_level(t)

    def evaluation_times(self, solver: Solver, like: Tensor) -> Float[Tensor, "n"] | None:
        """Return those of the solver on the noise process."""
        return solver.times(self.noise, like)

    def predict_x0(self, network: Network, x_t: States, t: Float[Tensor, "b"]) -> Float[Tensor, "b g o"]:
        """Return the expected clean states behind noised ones."""
        output = network(self.noise.network_input(x_t, t))
        return self.noise.to_x0(self.prediction, output.float(), x_t, t)

    def check_solver(self, solver: Solver) -> None:
        """Refuse solvers of distilled models and of codes, and those that the noise process does not admit."""
        if solver.kind == "latent":
            raise ValueError(
                f"solver={solver.name} draws the codes of a CVAE; this model was trained on process={self.noise.name}. "
                "Use solver=ddim."
            )
        if solver.kind == "consistency":
            raise ValueError(
                f"solver={solver.name} needs a distilled model, and this one predicts the mean. "
                "Distill it: python train_lightning.py experimental=distill model.generator.teacher=<checkpoint>"
            )
        solver.check(self.noise)

    def solve(
        self, solver: Solver, denoise: Denoise, noise: States, rng: Rng, *, trajectory: bool
    ) -> Samples:
        """Run the solver."""
        self.check_solver(solver)
        return solver(denoise, self.noise, noise, rng, trajectory=trajectory)

    def flow_score(self, denoise: Denoise, states: States, rank: FlowRank, rng: Rng) -> Float[Tensor, "b k"]:
        """Return the log-likelihood of clean states."""
        return log_likelihood(
            denoise, self.noise, states, steps=rank.steps, probes=rank.probes, rng=rng
        ).log_prob

    def set_sigma_data(self, spread: float) -> None:
        """Pass it on to the noise process."""
        self.noise.set_sigma_data(spread)


class ConsistencyDiffusion(GenerativeProcess):
    """A distilled diffusion: each noised state is answered with the end of its trajectory (Song et al. 2023).

    Args:
        diffusion: the process of the teacher.
    """

    def __init__(self, *, diffusion: Diffusion) -> None:
        super().__init__()
        self.diffusion = diffusion

    def input_dim(self, dim_state: int) -> int:
        """Return the length of a state."""
        return dim_state

    def network_level(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Return those of the teacher."""
        return self.diffusion.network_level(t)

    def evaluation_times(self, solver: Solver, like: Tensor) -> Float[Tensor, "n"] | None:
        """Return those of the solver on the teacher's noise process."""
        return self.diffusion.evaluation_times(solver, like)

    def predict_x0(self, network: Network, x_t: States, t: Float[Tensor, "b"]) -> Float[Tensor, "b g o"]:
        """Return the clean states at the end of the trajectories through noised ones."""
        return with_boundary(self.diffusion.noise, x_t, self.diffusion.predict_x0(network, x_t, t), t)

    def check_solver(self, solver: Solver) -> None:
        """Refuse every solver but those of distilled models."""
        if solver.kind != "consistency":
            raise ValueError(
                f"solver={solver.name} needs a model that predicts the mean, and this one was distilled to predict "
                "the end of a trajectory. Use solver=consistency."
            )
        solver.check(self.diffusion.noise)

    def solve(
        self, solver: Solver, denoise: Denoise, noise: States, rng: Rng, *, trajectory: bool
    ) -> Samples:
        """Run the solver."""
        self.check_solver(solver)
        return solver(denoise, self.diffusion.noise, noise, rng, trajectory=trajectory)

    def flow_score(self, denoise: Denoise, states: States, rank: FlowRank, rng: Rng) -> Float[Tensor, "b k"]:
        """Refuse: a distilled model has no flow."""
        raise ValueError(
            "rank=log_prob follows the flow of a model that predicts the mean, and this one was distilled. "
            "Use rank=score or none."
        )


class LatentDecoding(GenerativeProcess):
    """Codes drawn from a normal prior, decoded in one evaluation: what a CVAE samples by.

    Args:
        latent_dim: length of a code.
    """

    def __init__(self, *, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"model.generator.process.latent_dim: expected at least 1, got {latent_dim}.")
        self.latent_dim = latent_dim

    def input_dim(self, dim_state: int) -> int:
        """Return the length of a code."""
        return self.latent_dim

    def network_level(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Return that nothing is noise: there is no time."""
        return torch.zeros_like(t), torch.ones_like(t)

    def evaluation_times(self, solver: Solver, like: Tensor) -> Float[Tensor, "n"] | None:
        """Return that of the one evaluation."""
        return like.new_zeros(1)

    def predict_x0(self, network: Network, x_t: States, t: Float[Tensor, "b"]) -> Float[Tensor, "b g o"]:
        """Return the mean of the states with these codes; there is no time."""
        return network(x_t).float()

    def check_solver(self, solver: Solver) -> None:
        """Refuse every solver but the prior's."""
        if solver.kind != "latent":
            raise ValueError(
                f"solver={solver.name} follows a diffusion; this model is a CVAE, which decodes in one step. "
                "Use solver=prior."
            )

    def solve(
        self, solver: Solver, denoise: Denoise, noise: States, rng: Rng, *, trajectory: bool
    ) -> Samples:
        """Decode codes drawn from the prior."""
        self.check_solver(solver)
        if trajectory:
            raise ValueError("A CVAE decodes in one step: it has no trajectory. Leave trajectory=False.")
        t = torch.zeros(noise.shape[0], device=noise.device)
        return Samples(x0=denoise(solver.temperature * noise, t), nfe=1)

    def flow_score(self, denoise: Denoise, states: States, rank: FlowRank, rng: Rng) -> Float[Tensor, "b k"]:
        """Refuse: a CVAE has no flow."""
        raise ValueError(
            "rank=log_prob follows the flow of a diffusion model; this is a CVAE. Use rank=score."
        )


def with_boundary(process: NoiseProcess, x_t: Tensor, x0: Tensor, t: Float[Tensor, "b"]) -> Tensor:
    """Blend a predicted clean sample with the state, so that the prediction at t = 0 is the state itself.

    ``c_skip x_t + c_out x0`` with c_skip = 1 and c_out = 0 at t = 0 and nearly 0 and 1 elsewhere (Luo et al. 2023,
    eq. 9), so that a student begins as its teacher's denoiser.
    """
    squared = like(process.sigma(t), x_t).square()
    weight = squared / (squared + _BOUNDARY**2)
    return (1.0 - weight) * x_t + weight * x0
