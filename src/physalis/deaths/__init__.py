"""Dead features explained: how many there are, when they last fired, and why each died, as far as a repeat can tell."""

from physalis.deaths.explaining import explain_deaths
from physalis.deaths.records import Cause, Death, Deaths, Trial

__all__ = ["Cause", "Death", "Deaths", "Trial", "explain_deaths"]
