"""circuits: how features compute each other.

``transcode`` trains a transcoder for the MLP of every layer of a model in one pass; a ``TranscoderSet`` is the folder
that it writes.
"""

from physalis.circuits.transcoder_set import TranscoderSet
from physalis.circuits.transcoding import transcode

__all__ = ["TranscoderSet", "transcode"]
