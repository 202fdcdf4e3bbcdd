"""Where the time of training goes: stages measured in every process, merged, judged by rules."""

from sceneleapultra.utils.profiling.clock import DATA_STAGES, LoadRecord, StageClock
from sceneleapultra.utils.profiling.report import StageReport
from sceneleapultra.utils.profiling.stages import StageProfiler

__all__ = ["DATA_STAGES", "LoadRecord", "StageClock", "StageProfiler", "StageReport"]
