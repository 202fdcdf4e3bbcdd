"""How good it is: grasps put into physics beside baselines, metrics with intervals, reports to look at."""
