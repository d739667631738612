"""Where each message goes: one topic per aisle, one per camera, below one device."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device, all below `{prefix}/{site}/{device}/`."""

    prefix: str
    site: str
    device: str

    @property
    def base(self) -> str:
        """What every topic of this device begins with, without a slash at its end."""
        return f"{self.prefix}/{self.site}/{self.device}"

    @property
    def client_id(self) -> str:
        """This device's name at the broker: no two have the same.

        A broker's access rules may refuse names with a slash (mosquitto's patterns do), and a plain
        dash may stand in a site's or a device's name.
        """
        return ":".join(quote(level, safe="") for level in self.base.split("/"))

    @property
    def status(self) -> str:
        """Whether the device is there; the Last Will's topic."""
        return f"{self.base}/status"

    @property
    def gap(self) -> str:
        """What had to be shed."""
        return f"{self.base}/gap"

    @property
    def commands(self) -> str:
        """The subscription to every command for this device."""
        return f"{self.base}/commands/+"

    def command(self, name: str) -> str:
        """Return the topic on which a command comes."""
        return f"{self.base}/commands/{name}"

    def response(self, name: str) -> str:
        """Return the topic of the answers to who names no response topic (MQTT 3.1.1)."""
        return f"{self.base}/commands/{name}/response"

    def state(self, aisle: str) -> str:
        """Return the topic of an aisle's settled state."""
        return f"{self.base}/aisles/{aisle}/state"

    def detections(self, aisle: str) -> str:
        """Return the topic of an aisle's single observations."""
        return f"{self.base}/aisles/{aisle}/detections"

    def camera(self, camera: str) -> str:
        """Return the topic of a camera's health."""
        return f"{self.base}/cameras/{camera}/status"


def everything_below(prefix: str, site: str | None = None) -> str:
    """Return the subscription to every device under a prefix, or to one site's."""
    return f"{prefix}/{site or '+'}/+/#"
