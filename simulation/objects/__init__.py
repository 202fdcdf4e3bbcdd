"""Objects to grasp: procedural families, and meshes from a folder."""

from sceneleapultra.simulation.objects.meshes import Progress, as_solid, load_objects, load_solid
from sceneleapultra.simulation.objects.palette import object_color
from sceneleapultra.simulation.objects.procedural import FAMILIES, FLAT_FAMILIES, OBJECT_MASS, make_object

__all__ = [
    "FAMILIES",
    "FLAT_FAMILIES",
    "OBJECT_MASS",
    "Progress",
    "as_solid",
    "load_objects",
    "load_solid",
    "make_object",
    "object_color",
]
