"""A ROS 2 action for grasps: its definition, and what a node puts into and takes out of its messages."""

from sceneleapultra.serving.ros2.messages import goal_as_request, served_as_result

__all__ = ["goal_as_request", "served_as_result"]
