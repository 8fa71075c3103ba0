"""The project's own definitions; nothing starts by itself. The tests set LITGO_EXECUTOR."""

from dagster_shared.record import copy

from litgo_pipelines.definitions import build_defs

defs = copy(build_defs(), schedules=[], sensors=[])
