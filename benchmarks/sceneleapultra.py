"""Lets ``python scripts/<program>.py`` find the project around it, whether or not it is installed.

Python puts the folder of a program first on its path, so ``import sceneleapultra`` finds this file there; it puts the
folder above in its place and hands over to the package in it.
"""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)
del sys.modules["sceneleapultra"]
importlib.import_module("sceneleapultra")
