"""The shelf world: a picture and its ground truth for any moment, from a seed."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from .annotations import MIN_SIDE_PX, MIN_VISIBLE, Placed
from .arrangement import arrange
from .inventory import Inventory
from .markers import marker_ids
from .patch import common
from .route import Motion
from .scene import Scene, look
from .sensor import Sensor
from .splits import allows
from .styles import Picker
from .views import make_site
from .walkers import Walkers

if TYPE_CHECKING:
    from edge.frame import Image

    from .options import WorldOptions
    from .patch import Identities, Patch, Region
    from .route import Pose
    from .scene import Seen
    from .views import Station
    from .walkers import Walker

_SCENES_KEPT = 2


class ShelfWorld:
    """One camera in a procedural warehouse.

    `frame` is a function of the options and the time alone: any moment can be asked for, in any
    order, and comes out the same to the byte on one machine and one version of OpenCV. An object
    of this class is used by one thread at a time.
    """

    def __init__(self, options: WorldOptions) -> None:
        self.options = options
        picker = Picker(options.style, np.random.default_rng([options.seed, 1]))
        self._site = make_site(options, picker)
        self._motion = Motion(self._site.stations)
        self._inventory = Inventory(options, self._site, picker)
        self.styles = {name: frozenset(used) for name, used in picker.used.items()}
        """Table to the variants of it that this world is made of, people's left out."""
        self._scenes: OrderedDict[int, Scene] = OrderedDict()
        self._walkers = None
        if self._site.path is not None:
            camera = self._site.stations[0].camera
            self._walkers = Walkers(options, camera, self._site.path, self._site.brightness())
        self._sensor = Sensor(
            options.seed, options.resolution_wh, self._site.light.noise, options.blind_after_s
        )

    def frame(self, time_s: float) -> tuple[Image, list[Placed]]:
        """Return the picture, uint8 (H, W, 3) BGR, and what it shows, at seconds from the start."""
        if time_s < 0:
            raise ValueError(f"ShelfWorld.frame: expected a time from 0 s on, got {time_s}")
        pose = self._motion.at(time_s)
        scene = self._scene(pose.station)
        scene.show(self._inventory.present(time_s))
        if self._site.stations[pose.station].margin_px:
            image, identities, seen = self._passing(pose, scene)
        else:
            image, identities, seen = scene.image.copy(), scene.identities, dict(scene.seen)
        walkers = self._walking(time_s)
        if walkers:
            identities = _walk_in(image, identities.copy(), seen, walkers)
        return self._sensor.expose(image, time_s), self._placed(seen, walkers)

    def aisle_at(self, time_s: float) -> str | None:
        """Return the aisle the camera stands in, None where it shows more than one."""
        aisles = {rack.aisle for rack in self._station(time_s).racks}
        return aisles.pop() if len(aisles) == 1 else None

    def zones(self, time_s: float = 0.0) -> dict[str, list[tuple[float, float]]]:
        """Return where each aisle's racks are in the picture: corners, as fractions of it."""
        return self._station(time_s).zones()

    @property
    def marker_ids(self) -> dict[str, int]:
        """Aisle to the id of the marker on its uprights: ArUco, DICT_4X4_50."""
        return marker_ids(self.options.aisles)

    def _station(self, time_s: float) -> Station:
        return self._site.stations[self._motion.at(time_s).station]

    def _scene(self, number: int) -> Scene:
        found = self._scenes.get(number)
        if found is None:
            station = self._site.stations[number]
            stocked = self._inventory.on(station.racks)
            chance = np.random.default_rng([self.options.seed, 2])
            found = Scene(
                arrange(self._site, station, stocked, self.options.seed),
                station.camera.resolution_wh,
                focus=float(chance.uniform(0.0, 0.75)),
                corners=float(chance.uniform(0.05, 0.30)),
            )
            self._scenes[number] = found
            if len(self._scenes) > _SCENES_KEPT:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(number)
        return found

    def _passing(self, pose: Pose, scene: Scene) -> tuple[Image, Identities, dict[int, Seen]]:
        """Cut the frame of a camera between two stations out of a station's wider picture."""
        import cv2

        left, width = self._motion.window(pose), self.options.resolution_wh[0]
        image = np.ascontiguousarray(scene.image[:, left : left + width])
        identities = np.ascontiguousarray(scene.identities[:, left : left + width])
        smear = self._motion.smear_px(pose)
        if smear > 1:
            image = np.asarray(cv2.blur(image, (smear, 1)), np.uint8)
        seen = dict(scene.seen)
        _replace(identities, seen, [_moved(one, left) for one in seen.values()])
        return image, identities, seen

    def _walking(self, time_s: float) -> list[tuple[Walker, Patch]]:
        """Return who is in the picture, where the split of locations allows it."""
        if self._walkers is None:
            return []
        size = self.options.resolution_wh
        drawn = [(one, self._walkers.patch(one)) for one in self._walkers.at(time_s)]
        return [
            (walker, patch)
            for walker, patch in drawn
            if patch is not None
            and common(patch.region, (0, 0, *size))
            and allows(walker.label, self.options.locations, patch.region, size)
        ]

    def _placed(self, seen: dict[int, Seen], walkers: list[tuple[Walker, Patch]]) -> list[Placed]:
        labels = {walker.number: walker for walker, _ in walkers}
        placed = []
        for number, one in sorted(seen.items()):
            visible = min(1.0, one.pixels / max(1, one.whole))
            sides = (one.box[2] - one.box[0], one.box[3] - one.box[1])
            if visible < MIN_VISIBLE or min(sides) < MIN_SIDE_PX:
                continue
            if number in labels:
                walker = labels[number]
                aisle = self._site.nearest(walker.at)
                placed.append(Placed(number, walker.label, one.box, visible, aisle, None, None))
                continue
            block, rack = self._inventory.of(number)
            label = block.product.label
            where = (rack.aisle, block.bay, block.level)
            placed.append(Placed(number, label, one.box, visible, *where))
        return placed


def _walk_in(
    image: Image,
    identities: Identities,
    seen: dict[int, Seen],
    walkers: list[tuple[Walker, Patch]],
) -> Identities:
    """Paint walkers over a picture, and look again at what they may hide."""
    height, width = identities.shape
    for walker, patch in walkers:
        patch.paint(image, identities, walker.number, (0, 0, width, height))
    hidden = [
        one for one in seen.values() if any(common(one.box, patch.region) for _, patch in walkers)
    ]
    reaches = [(one.number, one.reach, one.whole) for one in hidden]
    reaches += [(walker.number, patch.region, patch.whole) for walker, patch in walkers]
    _replace(identities, seen, reaches)
    return identities


def _moved(one: Seen, left: int) -> tuple[int, Region, int]:
    reach = (one.box[0] - left, one.box[1], one.box[2] - left, one.box[3])
    return one.number, reach, one.whole


def _replace(
    identities: Identities,
    seen: dict[int, Seen],
    reaches: list[tuple[int, Region, int]],
) -> None:
    for number, reach, whole in reaches:
        seen.pop(number, None)
        found = look(identities, number, reach, whole)
        if found is not None:
            seen[number] = found
