"""The outbox on disk: one SQLite file, one process, one thread; what is committed is on the disk.

Every method may raise `sqlite3.OperationalError` when the disk cannot be written (full, read-only,
failing) and any other `sqlite3.DatabaseError` when the file is damaged; nothing has changed then.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .shedding import runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

FORMAT = 1
_MIB = 1 << 20
_SHED_AT_ONCE = 16
_SCHEMA = f"""
CREATE TABLE letter(
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, topic TEXT NOT NULL, retain INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX letter_detections ON letter(seq) WHERE kind = 'detections';
CREATE INDEX letter_retained ON letter(topic, seq) WHERE retain = 1;
CREATE TABLE shed(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE sequence(first_seq INTEGER NOT NULL, next_seq INTEGER NOT NULL);
PRAGMA user_version = {FORMAT};
"""
_RETAINED = """
CREATE TABLE IF NOT EXISTS retained(topic TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT OR IGNORE INTO retained SELECT DISTINCT topic FROM letter WHERE retain = 1;
"""
"""Not part of the format: an older version lets it be, and a file of one gets it here."""
_OLDEST_DETECTIONS = """
SELECT seq FROM letter INDEXED BY letter_detections WHERE kind = 'detections' {}
ORDER BY seq LIMIT ?
"""
_OLDEST_SUPERSEDED = """
SELECT seq FROM letter AS old WHERE retain = 1 AND EXISTS (
    SELECT 1 FROM letter AS new
    WHERE new.retain = 1 AND new.topic = old.topic AND new.seq > old.seq
) {} ORDER BY seq LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """A numbered message, ready to be sent."""

    seq: int
    kind: str
    topic: str
    retain: bool
    payload: bytes


class ForeignFormatError(Exception):
    """The file was written by another version of the software."""


class Store:
    """An open outbox file, exclusively ours until closed.

    `max_mb` bounds what the file and its write-ahead log take on disk, together. `fresh_seq` is
    the first number of a file that is new. Raises `ForeignFormatError` besides sqlite3's errors.
    """

    def __init__(self, path: Path, max_mb: float, fresh_seq: int) -> None:
        self.first_seq: int
        self.next_seq: int
        self.count: int
        self._retained: set[str]
        self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None)
        self._db.text_factory = _text
        try:
            self._prepare(max_mb, fresh_seq)
            self._read_what_is_there()
        except BaseException as error:
            self._db.close()
            if isinstance(error, UnicodeDecodeError):  # SQLite's own message quotes the file
                raise sqlite3.DatabaseError("its schema is no text") from error
            raise

    @property
    def retained(self) -> frozenset[str]:
        """The topics that hold a retained message of ours at the broker, or soon will."""
        return frozenset(self._retained)

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        self._db.close()

    def insert(
        self,
        letters: Sequence[Letter],
        next_seq: int,
        lost: Iterable[int] = (),
        spare: Collection[int] = (),
    ) -> int:
        """Put these on the disk, durably, as one transaction; make room for them by the rule.

        `next_seq` is the number that the next letter will have; `lost` are seqs that were shed
        before they got here; those in `spare` are on their way and not shed now. Returns how many
        were shed now.
        """
        rows = [(x.seq, x.kind, x.topic, x.retain, x.payload) for x in letters]
        newly = {x.topic for x in letters if x.retain} - self._retained
        with self._transaction(durable=True):
            self._db.executemany("INSERT INTO retained VALUES (?)", [(topic,) for topic in newly])
            self._db.executemany("INSERT INTO letter VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("UPDATE sequence SET next_seq = ?", (next_seq,))
            shed = self._make_room(spare)
            self._record_shed([*shed, *lost])
        self.count += len(letters) - len(shed)
        self.next_seq = next_seq
        self._retained |= newly
        return len(shed)

    def due(self, after: int, limit: int) -> list[Letter]:
        """Return the oldest letters with a seq above `after`."""
        rows = self._db.execute(
            "SELECT seq, kind, topic, retain, payload FROM letter WHERE seq > ? ORDER BY seq "
            "LIMIT ?",
            (after, limit),
        )
        return [
            Letter(seq, kind, topic, bool(retain), payload)
            for seq, kind, topic, retain, payload in _rows(rows, int, str, str, int, bytes)
        ]

    def delete(self, seqs: Iterable[int]) -> None:
        """Remove letters that the broker has; a power cut may undo that, not damage anything."""
        with self._transaction(durable=False):
            gone = self._db.executemany(
                "DELETE FROM letter WHERE seq = ?", [(seq,) for seq in seqs]
            ).rowcount
        self.count -= gone

    def remember_retained(self, topic: str) -> None:
        """Note, durably, that a retained message of ours will be on this topic."""
        if topic not in self._retained:
            with self._transaction(durable=True):
                self._db.execute("INSERT INTO retained VALUES (?)", (topic,))
            self._retained.add(topic)

    def forget_retained(self, topics: Collection[str]) -> None:
        """Note that these topics were cleared; a power cut may undo that, not damage anything."""
        with self._transaction(durable=False):
            rows = [(topic,) for topic in topics]
            self._db.executemany("DELETE FROM retained WHERE topic = ?", rows)
        self._retained.difference_update(topics)

    def shed_runs(self, limit: int) -> list[tuple[int, int]]:
        """Return the oldest runs of shed seqs, (first, last), that no gap message names yet."""
        found = self._db.execute("SELECT first, last FROM shed ORDER BY first LIMIT ?", (limit,))
        return [(first, last) for first, last in _rows(found, int, int)]

    def insert_gap(self, gap: Letter, named: Sequence[tuple[int, int]]) -> None:
        """Put a gap message on the disk and forget the runs that it names, as one transaction."""
        with self._transaction(durable=True):
            self._db.executemany("DELETE FROM shed WHERE first = ?", [(run[0],) for run in named])
            self._db.execute(
                "INSERT INTO letter VALUES (?, ?, ?, ?, ?)",
                (gap.seq, gap.kind, gap.topic, gap.retain, gap.payload),
            )
            self._db.execute("UPDATE sequence SET next_seq = ?", (gap.seq + 1,))
        self.count += 1
        self.next_seq = gap.seq + 1

    def shrink_log(self) -> None:
        """Fold the write-ahead log into the file, which gives its space back to a full disk."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _read_what_is_there(self) -> None:
        db = self._db
        sequence = list(_rows(db.execute("SELECT * FROM sequence"), int, int))
        if len(sequence) != 1:
            raise sqlite3.DatabaseError("it has lost count of its messages")
        self.first_seq, stored = sequence[0]
        self.count, newest = db.execute("SELECT count(*), max(seq) FROM letter").fetchone()
        self.next_seq = max(stored, (newest or 0) + 1)
        self._retained = {topic for (topic,) in _rows(db.execute("SELECT * FROM retained"), str)}

    def _prepare(self, max_mb: float, fresh_seq: int) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")  # takes the lock that is held until we close
        found: int = db.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if found == FORMAT and tables >= {"letter", "shed", "sequence"}:
            pass
        elif found == 0 and not tables:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT INTO sequence VALUES (?, ?)", (fresh_seq, fresh_seq))
        else:
            raise ForeignFormatError(f"format {found}")
        for statement in _RETAINED.split(";"):
            db.execute(statement)
        db.execute("COMMIT")
        page: int = db.execute("PRAGMA page_size").fetchone()[0]
        log_pages = int(min(4 * _MIB, max_mb * _MIB / 4)) // page
        db.execute(f"PRAGMA wal_autocheckpoint = {max(8, log_pages // 2)}")
        self._most_pages = int(max_mb * _MIB) // page - 2 * log_pages

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back itself
                self._db.execute("ROLLBACK")
            raise

    def _make_room(self, spare: Collection[int]) -> list[int]:
        shed: list[int] = []
        spared = f"AND seq NOT IN ({','.join(str(int(seq)) for seq in spare)})" if spare else ""
        for select in (_OLDEST_DETECTIONS, _OLDEST_SUPERSEDED):  # the rule of `shedding`
            while self._pages_used() > self._most_pages:
                rows = self._db.execute(select.format(spared), (_SHED_AT_ONCE,)).fetchall()
                if not rows:
                    break
                self._db.executemany("DELETE FROM letter WHERE seq = ?", rows)
                shed += [seq for (seq,) in rows]
        return shed

    def _pages_used(self) -> int:
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return pages - free

    def _record_shed(self, seqs: Iterable[int]) -> None:
        for first, last in runs(seqs):
            before = self._db.execute(
                "SELECT first FROM shed WHERE first < ? ORDER BY first DESC LIMIT 1", (first,)
            ).fetchone()
            joined = (
                before
                and self._db.execute(
                    "UPDATE shed SET last = ? WHERE first = ? AND last = ?",
                    (last, before[0], first - 1),
                ).rowcount
            )
            start = before[0] if joined else first
            after = self._db.execute(
                "SELECT last FROM shed WHERE first = ?", (last + 1,)
            ).fetchone()
            if after:
                self._db.execute("DELETE FROM shed WHERE first = ?", (last + 1,))
            end = after[0] if after else last
            self._db.execute("INSERT OR REPLACE INTO shed VALUES (?, ?)", (start, end))


def _text(raw: bytes) -> str:
    # sqlite3 would raise an OperationalError, as if the disk were at fault.
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise sqlite3.DatabaseError("text that is no UTF-8") from None


def _rows(found: Iterable[tuple[Any, ...]], *types: type) -> Iterator[tuple[Any, ...]]:
    """Hand on the rows of a query; damage may have made anything of them, and SQLite lets it."""
    for row in found:
        if tuple(map(type, row)) != types:
            raise sqlite3.DatabaseError("a row that nobody has written")
        yield row
