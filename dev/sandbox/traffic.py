"""Counters of what came, and how many deposits were in flight at once. In memory only."""

import time
from collections import Counter, deque
from contextlib import contextmanager

RECENT = 50


class Flight:
    """A deposit between its arrival and its answer. Ends once: at the answer, or when the client hangs up."""

    __slots__ = ("payee", "traffic")

    def __init__(self, traffic, payee):
        self.traffic = traffic
        self.payee = payee

    def end(self):
        """No longer in flight."""
        if self.traffic:
            self.traffic.land(self.payee)
            self.traffic = None


class Traffic:
    """What this process has seen."""

    def __init__(self):
        self.clear()

    def clear(self):
        """Count from nothing. What is in flight stays so."""
        self.outcomes = {}
        self.recent = deque(maxlen=RECENT)
        self.references = Counter()
        self.now = getattr(self, "now", 0)
        self.now_to = getattr(self, "now_to", Counter())
        self.largest = self.now
        self.largest_to = {payee: number for payee, number in self.now_to.items() if number > 1}

    def note(self, call, answer):
        """Count an answer."""
        self.outcomes.setdefault(call.path, Counter())[answer.name] += 1
        # A person who polls the ledger should not push the deposits off the page.
        if not call.path.startswith("/sandbox/") and call.path != "/":
            self.recent.append((time.time(), call.method, call.path, call.subject, answer.name))

    @contextmanager
    def flight(self, order):
        """Count a deposit as in flight."""
        flight = self._start(order)
        try:
            yield flight
        finally:
            flight.end()

    def _start(self, order):
        if order.reference:
            self.references[order.reference] += 1
        self.now += 1
        self.largest = max(self.largest, self.now)
        self.now_to[order.payee] += 1
        here = self.now_to[order.payee]
        if here > 1:
            self.largest_to[order.payee] = max(here, self.largest_to.get(order.payee, 0))
        return Flight(self, order.payee)

    def land(self, payee):
        """One deposit to this payee is no longer in flight."""
        self.now -= 1
        self.now_to[payee] -= 1
        if not self.now_to[payee]:
            del self.now_to[payee]

    def as_dict(self, connections):
        """As GET /sandbox/requests gives it."""
        return {
            "paths": {path: dict(counter) for path, counter in sorted(self.outcomes.items())},
            "in_flight": {
                "now": self.now,
                "largest": self.largest,
                "largest_to_one_payee": max(self.largest_to.values(), default=min(self.largest, 1)),
                "more_than_one_at_once": self.largest_to,
            },
            "references_sent_again": {
                reference: times for reference, times in self.references.items() if times > 1
            },
            "connections": connections,
        }
