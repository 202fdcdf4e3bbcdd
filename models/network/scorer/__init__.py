"""How likely finished grasps are to succeed, learned from verdicts of the simulator."""
