"""Everything that can go wrong, in one tree.

EdgeError
├── ConfigError             the configuration is wrong                            exit 2
├── StartError              the service or tool cannot start                      exit 3
│   ├── MissingPackage      an optional package is not installed
│   ├── BundleError         a bundle is missing, damaged or fails its golden
│   ├── RuntimeFailure      an inference runtime cannot load or run the graph
│   │   ├── PlanRefused         a TensorRT plan is not for this device, or is damaged
│   │   ├── OutOfDeviceMemory   the GPU has no memory left for it
│   │   └── DeviceLost          the GPU failed or is gone; only a new process can use it again
│   ├── SourceError         a source URI is not understood, or never can be opened
│   ├── OutboxError         the outbox cannot be opened or written
│   └── BrokerRefused       the broker answered, and said no
└── CaptureError            a camera failed and may come back (the supervisor's business)

Build-time errors hang below `EdgeError` too: see `engines.errors`.
"""

from __future__ import annotations

import shlex
import sys

PIP = f"{shlex.quote(sys.executable)} -m pip"
"""The pip of the environment that we run in: what another one installs is not seen here."""


class EdgeError(Exception):
    """Base of every error we raise on purpose: one line, and the next step.

    `message` names the thing, what was expected and what was found; `hint` says what to do now.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class ConfigError(EdgeError):
    """The configuration is wrong; `problems` holds every line of it, `FILE:LINE: key: what`."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(EdgeError):
    """The service or a tool cannot start: what, and what to do."""

    exit_code = 3


class MissingPackage(StartError):  # noqa: N818 - reads as what happened
    """An optional package is not installed; the hint names the extra or the system package."""


class BundleError(StartError):
    """A bundle is missing, damaged, or does not detect what its golden says it detects."""


class RuntimeFailure(StartError):  # noqa: N818 - reads as what happened
    """An inference runtime cannot load or run a graph."""


class PlanRefused(RuntimeFailure):
    """A TensorRT plan was made for another device or version, or is damaged."""


class OutOfDeviceMemory(RuntimeFailure):
    """The GPU has no memory left for what is asked of it."""


class DeviceLost(RuntimeFailure):
    """The GPU failed or is gone: only a new process can use it again."""


class SourceError(StartError):
    """A source URI is not understood or can never be opened on this machine."""


class OutboxError(StartError):
    """The outbox cannot be opened, read or written."""


class BrokerRefused(StartError):  # noqa: N818 - reads as what happened
    """The broker answered and refused us (user name, password, certificate, authorisation)."""


class CaptureError(EdgeError):
    """A camera failed in a way that may mend itself; its supervisor tries again."""
