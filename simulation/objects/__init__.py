"""Objects to grasp: procedural families, and meshes from a folder."""

from simulation.objects.palette import object_color
from simulation.objects.procedural import FAMILIES, make_object

__all__ = ["FAMILIES", "make_object", "object_color"]
