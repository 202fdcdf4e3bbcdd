"""Where the time of training goes: stages measured in every process, merged, judged by rules."""

from sceneleapultra.utils.training.profiling.clock import DATA_STAGES, LoadRecord, StageClock
from sceneleapultra.utils.training.profiling.report import StageReport
from sceneleapultra.utils.training.profiling.stages import StageProfiler

__all__ = ["DATA_STAGES", "LoadRecord", "StageClock", "StageProfiler", "StageReport"]
