"""Events: their delivery, their order, and what holds them back."""

from cases_guests import reporting

CASES = [reporting(name) for name in ("events_shadow", "events_hlt", "events_delivery",
                                      "events_debug")]
