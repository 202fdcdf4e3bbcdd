"""What somebody with a camera asks: a depth image or a cloud in whatever form a camera writes it, and the object in it.

Nothing here needs torch, a model or a simulation, so mistakes are answered before any of them is loaded.
"""

from sceneleapultra.utils.requests.learned import SHIPPED_VIEWS, LearnedViews
from sceneleapultra.utils.requests.request import GraspRequest
from sceneleapultra.utils.requests.sensor_cloud import SensorCloud
from sceneleapultra.utils.requests.target import Target

__all__ = ["SHIPPED_VIEWS", "GraspRequest", "LearnedViews", "SensorCloud", "Target"]
