"""Checkpoints that 0.1 shipped: old files that must be read for ever."""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent.parent / "models" / "of_0_1"
LEAP_TABLE_CPU = _FOLDER / "leap_table_cpu.ckpt"
LEAP_TABLE = _FOLDER / "leap_table.ckpt"
