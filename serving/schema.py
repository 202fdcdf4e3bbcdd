"""What goes over the wire: version 1 of requests and answers, as pydantic models and so as OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

VERSION = "v1"
NPZ = "application/x-npz"
JSON = "application/json"
ARRAYS = ("points", "depth", "mask", "rgb")

_NUMBER = {"type": "number", "nullable": True}


def _nested(item: dict[str, Any], levels: int) -> dict[str, Any]:
    for _ in range(levels):
        item = {"type": "array", "items": item}
    return item


Grid = Annotated[Any, WithJsonSchema({"anyOf": [_nested(_NUMBER, 2), _nested(_NUMBER, 3)]})]
Image = Annotated[Any, WithJsonSchema(_nested(_NUMBER, 2))]
Mask = Annotated[
    Any,
    WithJsonSchema({"anyOf": [_nested({"type": "boolean"}, n) for n in (1, 2)], "description": "or 0 and 1"}),
]
Intrinsics = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [_nested({"type": "number"}, 1), _nested({"type": "number"}, 2), {"type": "object"}]}
    ),
]
Vector = tuple[float, float, float]


class Strict(BaseModel):
    """Takes what it names, of the types that it names, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SamplingChanges(Strict):
    """Changes of the model's own sampling by name; null leaves one as it is."""

    solver: str | None = None
    steps: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    guidance: str | None = None
    cfg_scale: float | None = None
    rank: str | None = None
    anchor_temperature: float | None = Field(default=None, gt=0)
    graspness: float | None = Field(default=None, ge=0)
    pregrasp_opening: float | None = None
    squeeze_gain: float | None = None


class GraspSettings(Strict):
    """What is asked for, without the arrays: the text ``settings`` of the binary form."""

    num_grasps: int = Field(default=32, ge=1, description="how many are sampled")
    best: int | None = Field(
        default=None, ge=1, description="how many of them are answered: the best that differ"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="of the noise; the same request gives the same grasps"
    )
    sampling: SamplingChanges = SamplingChanges()
    prompt: str | None = Field(
        default=None, max_length=1000, description="what to grasp, for models trained with prompts"
    )
    negative_prompts: list[Annotated[str, Field(max_length=1000)]] = Field(default=[], max_length=16)
    hand: str | None = Field(default=None, description="refused where the model's hand is another")
    frame: str | None = Field(
        default=None, max_length=200, description="a name for the cloud's frame; the answer has it"
    )
    intrinsics: Intrinsics = Field(default=None, description="fx fy cx cy, or K, of a depth image (pixels)")
    depth_scale: float | None = Field(
        default=None, gt=0, description="metres per unit of a depth image of whole numbers"
    )
    up: Vector | None = Field(
        default=None, description="against gravity; measured from the table if it is not named"
    )
    viewpoint: Vector | None = Field(
        default=None, description="camera center in the frame of points; the origin if null"
    )
    pixel: tuple[int, int] | None = Field(
        default=None, description="column and row of a pixel that shows the object"
    )
    at: Vector | None = Field(default=None, description="a point on the object (m)")
    box: list[float] | None = Field(
        default=None, description="u0 v0 u1 v1 (pixels), or x0 y0 z0 x1 y1 z1 (m)"
    )
    object: int | None = Field(default=None, description="its number, the one with most points first, from 1")
    deadline_s: float | None = Field(default=None, gt=0, description="after which no answer is wanted")
    priority: Literal["high", "normal", "low"] = "normal"


class GraspsRequest(GraspSettings):
    """A cloud, or a depth image with its intrinsics, and the object in it."""

    points: Grid = Field(
        default=None, description="(n, 3) or (h, w, 3), metres; null where nothing was measured"
    )
    depth: Image = Field(
        default=None, description="(h, w): floats in metres, or whole numbers with depth_scale"
    )
    mask: Mask = Field(default=None, description="which points or pixels show the object")
    rgb: Grid = Field(default=None, description="colors of the points, 0 to 255")


class BasePose(BaseModel):
    """Where the hand's base is."""

    position: Vector
    quat_wxyz: tuple[float, float, float, float]


class Approach(BaseModel):
    """A straight way to the grasp, turned as it is there, fingers at the pre-grasp."""

    waypoints: list[BasePose] = Field(description="from the start to the grasp")
    free: bool = Field(description="nowhere deeper in what was observed than at the pre-grasp")


class Grasp(BasePose):
    """A grasp: pre-grasp, grasp and squeeze share the pose of the base; joints in the order of joint_names (rad)."""

    pregrasp_qpos: list[float]
    qpos: list[float]
    squeeze_qpos: list[float]
    score: float = Field(description="higher is better")
    p_stable: float | None
    p_collision_free: float | None
    clearance_m: float = Field(description="to the points beside the object; negative: they are inside")
    clearance_spread_m: float | None = Field(
        description="by which the hypotheses of a completion differ about it; null without a completion"
    )
    approach: Approach


class GraspsAnswer(BaseModel):
    """Grasps in the frame of the request, best first."""

    version: Literal["v1"]
    model: str
    hand: str
    frame: str
    up: Vector
    joint_names: list[str]
    notes: list[str] = Field(description="what was left out, measured and chosen")
    warnings: list[str] = Field(description="what is odd about the request")
    nfe: int = Field(description="evaluations of the network")
    grasps: list[Grasp]


class ModelCard(BaseModel):
    """What answers here."""

    version: Literal["v1"]
    model: str
    weights: str = Field(description="digest of the checkpoint or bundle, its first 12 digits")
    loaded: float = Field(description="when (s since 1970)")
    hand: str
    joint_names: list[str]
    joint_limits: list[tuple[float, float]] = Field(description="rad")
    uses_color: bool
    device: str
    limits: dict[str, float]


class Problem(BaseModel):
    """Why there is no answer (RFC 9457)."""

    title: str
    status: int
    detail: str = Field(description="one sentence: what was expected, what came, what to do")
    request_id: str
