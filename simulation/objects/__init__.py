"""Objects to grasp: procedural families, and meshes from a folder."""

from simulation.objects.meshes import load_objects
from simulation.objects.palette import object_color
from simulation.objects.procedural import FAMILIES, OBJECT_MASS, make_object

__all__ = ["FAMILIES", "OBJECT_MASS", "load_objects", "make_object", "object_color"]
