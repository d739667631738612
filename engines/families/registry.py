"""The families this version knows, and which of them a network is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.errors import ModelError
from engines.families.detr import Detr, RfDetr, RtDetr, RtDetrUltralytics
from engines.families.detr_exported import DetrExported, DetrExportedNormalised
from engines.families.fastestdet import FastestDet
from engines.families.nanodet import NanoDet, NanoDetPlus
from engines.families.ssd import Ssd
from engines.families.ssd_tensorflow import SsdTensorflow
from engines.families.ultralytics import Ultralytics
from engines.families.yolox import Yolox

if TYPE_CHECKING:
    from engines.families.family import Family, Recognised
    from engines.model import Network

FAMILIES: tuple[Family, ...] = (
    Ultralytics(),
    Yolox(),
    Ssd(),
    SsdTensorflow(),
    Detr(),
    RtDetr(),
    RfDetr(),
    RtDetrUltralytics(),
    DetrExported(),
    DetrExportedNormalised(),
    NanoDetPlus(),
    NanoDet(),
    FastestDet(),
)


def recognise(network: Network, name: str | None = None) -> tuple[Family, Recognised]:
    """Return the one family the network is of, or check that it can be of family `name`.

    Raises `ModelError`, naming the outputs found and the choices, where none or several fit.
    """
    if len(network.inputs) != 1:
        raise _unknown(network, [f"it takes {len(network.inputs)} inputs, every family takes one"])
    reasons: list[str] = []
    sure: list[tuple[Family, Recognised]] = []
    unsure: list[tuple[Family, Recognised]] = []
    for family in FAMILIES:
        found = family.recognise(network)
        if isinstance(found, str):
            reasons.append(f"not {family.name}: {found}")
        else:
            (unsure if found.doubts else sure).append((family, found))
    if name is not None:
        return _named(network, name, sure + unsure, reasons)
    if len(sure) == 1:
        return sure[0]
    if sure or unsure:
        raise _undecided(network, sure + unsure)
    raise _unknown(network, reasons)


def _named(
    network: Network, name: str, fitting: list[tuple[Family, Recognised]], reasons: list[str]
) -> tuple[Family, Recognised]:
    for family, found in fitting:
        if family.name == name:
            return family, found
    if name not in {family.name for family in FAMILIES}:
        reasons = [f"no family is called {name!r}"]
    raise _unknown(network, reasons)


def _undecided(network: Network, fitting: list[tuple[Family, Recognised]]) -> ModelError:
    choices = " or ".join(f"--family {family.name}" for family, _ in fitting)
    doubts = "; ".join(
        f"{family.name}: {', '.join(found.doubts) or 'fits'}" for family, found in fitting
    )
    return ModelError(
        f"model {network.source.path}: its family is not certain from the graph ({doubts})",
        f"say which it is: {choices}",
    )


def _unknown(network: Network, reasons: list[str]) -> ModelError:
    known = "; ".join(f"{family.name} ({family.models})" for family in FAMILIES)
    return ModelError(
        f"model {network.source.path}: of no known family: inputs {network.inputs}, outputs "
        f"{network.outputs}; {'; '.join(reasons)}",
        f"known families: {known}",
    )
