"""A broker connection that does what a test says: the seam is `edge.reporting.connection`."""

from __future__ import annotations

from edge.reporting.link import Acknowledged, Arrived, Down, Up


class FakeConnection:
    """Stands in for `Connection`; the test calls `come_up`, `go_down` and `acknowledge`."""

    def __init__(self, broker, client_id, on_event, *, will=None, subscribe=None):
        self.client_id = client_id
        self.subscribe = subscribe
        self.largest = None
        self.will = will
        self.where = "mqtt broker:1883"
        self.link = 0
        self.up = False
        self.trouble = self.refused = self.protocol = None
        self.stopped = False
        self.sent = []
        """(mid, topic, payload, retain) of the present link."""
        self.correlations = []
        self.dropped = []
        self._on_event = on_event

    def publish(self, topic, payload, *, retain, correlation=None):
        if not self.up:
            return None
        self.correlations.append(correlation)
        self.sent.append((len(self.sent) + 1, topic, payload, retain))
        return self.link, len(self.sent)

    @property
    def connected(self):
        return self.up

    def start(self):
        pass

    def stop(self, timeout_s):
        self.stopped = True

    def drop(self, reason):
        self.dropped.append(reason)

    def come_up(self, window=20):
        self.link += 1
        self.up, self.sent = True, []
        self._on_event(Up(self.link, window))

    def go_down(self):
        self.up = False
        self._on_event(Down(self.link))

    def bring(self, **arrived):
        self._on_event(Arrived(**arrived))

    def acknowledge(self, mid, error=None, link=None):
        self._on_event(Acknowledged(link or self.link, mid, error))
