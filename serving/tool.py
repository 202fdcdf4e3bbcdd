"""A service's grasps as a tool of language models (Model Context Protocol)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from sceneleapultra import __version__
from sceneleapultra.serving.client import GraspClient
from sceneleapultra.utils.requests.files import read_sensor

_HELP = (
    "Generates grasps of a multi-fingered robot hand for one object that a depth camera sees. Poses are in the frame "
    "of the file, metres and radians, quaternions wxyz, best grasp first. Nothing is moved."
)


def build_tool(client: GraspClient) -> MCPServer:
    """Return an MCP server whose tools ask a service for grasps.

    Args:
        client: of the service.
    """
    server = MCPServer("sceneleapultra", instructions=_HELP, version=__version__)

    @server.tool()
    def generate_grasps(
        file: str,
        pixel: tuple[int, int] | None = None,
        at: tuple[float, float, float] | None = None,
        object: int | None = None,
        num_grasps: int = 32,
        best: int = 4,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Generate grasps for an object in a file of a depth camera.

        Args:
            file: a cloud (.ply, .pcd, .npy, .npz; metres), or an .npz with depth, K and depth_scale
            pixel: column and row of a pixel that shows the object, where the file is an image
            at: a point on the object (m)
            object: its number, where several stand on the table; without any of these the only one is taken
            num_grasps: how many are sampled
            best: how many of them are returned, the best that differ
            seed: of the noise
        """
        with _sentences_reach_the_model():
            cloud = read_sensor(Path(file), None, None)
            named: dict[str, Any] = {"pixel": pixel, "at": at, "object": object}
            named = {name: value for name, value in named.items() if value is not None}
            if not named and cloud.mask is not None:
                named["mask"] = cloud.mask
            served = client.grasps(
                points=cloud.points, num_grasps=num_grasps, best=best, seed=seed, frame=cloud.frame, **named
            )
        return served.to_dict()

    @server.tool()
    def describe_hand() -> dict[str, Any]:
        """Say which model and hand answer: its joints in order with their limits (rad)."""
        with _sentences_reach_the_model():
            return client.model()

    return server


@contextmanager
def _sentences_reach_the_model() -> Iterator[None]:
    """Let the language model read the sentence of what went wrong."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ToolError(str(error)) from error
