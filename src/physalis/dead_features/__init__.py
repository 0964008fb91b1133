"""Dead features explained: how many there are, when they last fired, and why each died, as far as a repeat can tell."""

from physalis.dead_features.explaining import explain_dead_features
from physalis.dead_features.records import Cause, DeadFeature, DeadFeatures, Trial

__all__ = ["Cause", "DeadFeature", "DeadFeatures", "Trial", "explain_dead_features"]
