"""recording: from text and a model to Activations, on disk (record), without the disk (stream), or only estimated
(plan)."""

from physalis.recording.options import Reading
from physalis.recording.planning import Plan, plan
from physalis.recording.recorder import record
from physalis.recording.streaming import Stream, stream

__all__ = ["Plan", "Reading", "Stream", "plan", "record", "stream"]
