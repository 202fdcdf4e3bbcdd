"""Where the time of training goes: stages measured in every process, merged, judged by rules."""

from utils.profiling.clock import DATA_STAGES, StageClock

__all__ = ["DATA_STAGES", "StageClock"]
