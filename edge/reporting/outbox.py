"""Where messages wait until the broker has them. Owned by one thread."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge.errors import OutboxError

from .shedding import Holding
from .store import ForeignFormatError, Letter, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from .compose import Outgoing

_log = logging.getLogger(__name__)

_HELD_MOST = 2000
"""Messages in memory while the disk cannot be written: about 8 MB of large ones."""
_WRITE_AT_ONCE = 64
_RETRY_S = 2.0
_REMIND_S = 300.0
_RUNS_PER_GAP = 100


class Outbox:
    """Numbers messages and keeps them on disk until they are acknowledged.

    One contiguous sequence per device, kept over restarts. A new file begins at the present time
    in milliseconds, so that even a device that lost its disk does not repeat a number. While the
    disk cannot be written messages are held in memory, and are still sent from there; only then
    may a crash lose them and, at the next start, use their numbers again (their ids differ).
    Bounded in either place, by the rule of `shedding`. Raises `OutboxError` if it cannot be opened.
    """

    def __init__(self, path: Path, max_mb: float) -> None:
        self._path = path
        self._max_mb = max_mb
        self._store = self._open(floor=0)
        self._next_seq = self._store.next_seq
        self._held: Holding[Letter] = Holding(_HELD_MOST)
        self._held_shed: list[int] = []
        self._unnumbered = 0
        self._undeleted: set[int] = set()
        self._retry_at = 0.0
        self._said_at = 0.0
        self.shed = 0
        """Messages shed since the outbox was opened."""
        self.trouble: str | None = None
        """Why the disk cannot be written, while it cannot."""

    @property
    def first_seq(self) -> int:
        """The first seq of this outbox file; lower ones are of a file that is gone."""
        return self._store.first_seq

    @property
    def backlog(self) -> int:
        """Messages that wait."""
        return self._store.count + len(self._held.items) - len(self._undeleted)

    @property
    def retained(self) -> frozenset[str]:
        """The topics that hold a retained message of ours at the broker, or soon will.

        Kept on disk, so that what a configuration no longer has can be cleared after a restart.
        """
        return self._store.retained

    def remember_retained(self, topic: str) -> None:
        """Note that this topic will hold a retained message that does not pass the outbox."""
        self._guard(lambda: self._store.remember_retained(topic))

    def forget_retained(self, topics: Collection[str]) -> None:
        """Note that the broker holds nothing on these topics any more."""
        self._guard(lambda: self._store.forget_retained(topics))

    def append(self, batch: Iterable[Outgoing], spare: Collection[int] = ()) -> None:
        """Give these messages their numbers and put them on the disk, as few transactions.

        The seqs in `spare` are on their way to the broker and not shed.
        """
        letters = []
        for outgoing in batch:
            seq = self._take_seq()
            letters.append(
                Letter(seq, outgoing.kind, outgoing.topic, outgoing.retain, outgoing.payload(seq))
            )
        self._hold(letters)
        if self._unwritten() and time.monotonic() >= self._retry_at:
            self._guard(lambda: self._write_held(spare))

    def due(self, after: int, limit: int) -> list[Letter]:
        """Return up to `limit` waiting messages with a seq above `after`, oldest first."""
        found: list[Letter] = []
        self._guard(lambda: found.extend(self._due_on_disk(after, limit)), writes=False)
        held = [x for x in self._held.items if x.seq > after]
        return found + held[: limit - len(found)]

    def acknowledged(self, seqs: Collection[int]) -> None:
        """Forget these messages: the broker has them."""
        if not seqs:
            return
        held = {x.seq for x in self._held.items}
        self._held.items = [x for x in self._held.items if x.seq not in seqs]
        self._undeleted.update(seq for seq in seqs if seq not in held)
        if time.monotonic() >= self._retry_at:
            self._guard(self._delete_acknowledged)

    def count_unnumbered(self, shed: int) -> None:
        """Note that so many messages were shed before they got here."""
        self._unnumbered += shed
        self.shed += shed

    def report_gap(self, compose: Callable[[int, Sequence[tuple[int, int]]], Outgoing]) -> None:
        """Append a message that names what was shed since the last one, if anything was.

        `compose` takes how many in all and the runs of seqs, (first, last).
        """
        if self.trouble is None:
            self._guard(lambda: self._report_gap(compose))

    def close(self) -> None:
        """Write what is still held, if the disk lets us, and close the file."""
        self._retry_at = 0.0
        self.append(())
        if self._held.items:
            _log.error(
                "outbox %s: %d messages are lost, the disk cannot be written",
                self._path,
                len(self._held.items),
            )
            self._held.items = []
        self._store.close()

    def _due_on_disk(self, after: int, limit: int) -> list[Letter]:
        found: list[Letter] = []
        while len(found) < limit and (rows := self._store.due(after, limit)):
            after = rows[-1].seq
            found += [x for x in rows if x.seq not in self._undeleted]
        return found[:limit]

    def _unwritten(self) -> bool:
        behind = self._store.next_seq != self._next_seq
        return behind or bool(self._held.items or self._held_shed)

    def _take_seq(self) -> int:
        self._next_seq += 1
        return self._next_seq - 1

    def _hold(self, letters: Iterable[Letter]) -> None:
        gone = self._held.add(letters)
        self._held_shed += [letter.seq for letter in gone]
        self.shed += len(gone)

    def _write_held(self, spare: Collection[int]) -> None:
        if self.trouble is not None:
            self._store.shrink_log()
        while self._unwritten():
            some = self._held.items[:_WRITE_AT_ONCE]
            all_of_them = len(some) == len(self._held.items)
            next_seq = self._next_seq if all_of_them else some[-1].seq + 1
            self.shed += self._store.insert(some, next_seq, self._held_shed, spare)
            del self._held.items[: len(some)]
            self._held_shed = []

    def _delete_acknowledged(self) -> None:
        self._store.delete(self._undeleted)
        self._undeleted.clear()

    def _report_gap(self, compose: Callable[[int, Sequence[tuple[int, int]]], Outgoing]) -> None:
        named = self._store.shed_runs(_RUNS_PER_GAP)
        count = sum(last - first + 1 for first, last in named) + self._unnumbered
        if not count:
            return
        gap = compose(count, named)
        seq = self._next_seq
        payload = gap.payload(seq)
        self._store.insert_gap(Letter(seq, gap.kind, gap.topic, gap.retain, payload), named)
        self._next_seq, self._unnumbered = seq + 1, 0

    def _guard(self, work: Callable[[], None], *, writes: bool = True) -> None:
        """Do `work` on the file; if the disk fails go on without, if it is damaged begin anew."""
        try:
            work()
        except sqlite3.OperationalError as error:
            self._retry_at = time.monotonic() + _RETRY_S
            self._complain(str(error))
        except sqlite3.DatabaseError as error:
            self._store.close()
            _move_aside(self._path, error)
            self._store = self._open(floor=self._next_seq)
            self._next_seq = self._store.next_seq
            self._undeleted.clear()
        else:
            if writes and self.trouble is not None:
                _log.warning("outbox %s: can be written again", self._path)
                self.trouble = None

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if self.trouble is None or now - self._said_at > _REMIND_S:
            _log.error(
                "outbox %s: cannot be written: %s; free space on its disk or mount it writable; "
                "until then up to %d messages are held in memory",
                self._path,
                what,
                _HELD_MOST,
            )
            self._said_at = now
        self.trouble = what

    def _open(self, floor: int) -> Store:
        fresh_seq = max(floor, int(time.time() * 1000))
        _refuse_what_is_no_file(self._path)
        try:
            try:
                return Store(self._path, self._max_mb, fresh_seq)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                _move_aside(self._path, error)
                return Store(self._path, self._max_mb, fresh_seq)
        except sqlite3.OperationalError as error:
            raise _cannot_open(self._path, error) from error
        except OSError as error:
            hint = f"move the damaged file {self._path} away"
            raise OutboxError(f"outbox {self._path}: {error.strerror}", hint) from error
        except ForeignFormatError as error:
            raise OutboxError(
                f"outbox {self._path}: written by another version or program ({error})",
                "move it away, or run the version that wrote it until it is empty",
            ) from error


def _refuse_what_is_no_file(path: Path) -> None:
    """Keep SQLite from waiting for a pipe, and from leaving a journal beside a device."""
    try:
        refused = path.exists() and not path.is_file()
    except OSError as error:
        hint = f"correct outbox.path, or let user {os.getuid()} into its directory"
        raise OutboxError(f"outbox {path}: {error.strerror}", hint) from error
    if refused:
        raise OutboxError(f"outbox {path}: is no file", "correct outbox.path")


def _cannot_open(path: Path, error: sqlite3.OperationalError) -> OutboxError:
    folder = path.parent
    if not folder.is_dir():
        hint = f"create {folder}, owned by the service's user, or correct outbox.path"
        return OutboxError(f"outbox {path}: its directory does not exist", hint)
    if "locked" in str(error):
        hint = "stop the other daemon, or give each its own outbox.path"
        return OutboxError(f"outbox {path}: another process has it open", hint)
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        hint = f"outbox.path must be a file that user {os.getuid()} may write, in such a directory"
        return OutboxError(f"outbox {path}: not writable", hint)
    return OutboxError(f"outbox {path}: {error}", "free space on its disk, or correct outbox.path")


def _move_aside(path: Path, why: Exception) -> None:
    """Keep the damaged file for whoever wants to look, but only the latest one."""
    for older in path.parent.glob(f"{path.name}.damaged-*"):
        older.unlink()
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    path.replace(aside)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        log.replace(path.with_name(f"{aside.name}-wal"))
    _log.error(
        "outbox %s: damaged (%s), its messages are lost; moved to %s, and a new one begun",
        path,
        why,
        aside,
    )
