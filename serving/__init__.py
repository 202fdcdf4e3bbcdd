"""How a model is asked for grasps where it is used."""
