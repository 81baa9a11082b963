"""The guests that try every bit of the registers, every MSR and every port."""

from cases_guests import reporting

CASES = [reporting("registers"), reporting("sweeps")]
