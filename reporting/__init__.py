"""How results are shown: drawings of grasps, pictures, charts, and pages of one HTML file."""
