"""Reads a log (NDJSON) into MongoDB with Pathway: events, rejects, rollups, minutes and alerts.

    python with_pathway.py MONGODB_URI DATABASE FILE LIMIT

Pathway's own MongoDB sink cannot be used here: it chooses the `_id`s itself, appends changes instead of replacing
counts, and its snapshots need MongoDB 8.0. So observers take the changes of the tables, and add them up by pymongo.
DATABASE is dropped first. LIMIT is the number of accesses a minute above which a minute alerts. Prints how many
seconds it took and how many events are stored.
"""

import logging
import os
import sys
import time
from functools import partial

STARTED = time.monotonic()
os.environ.setdefault("PATHWAY_THREADS", "2")  # read by the next import

import common  # noqa: E402
import pathway as pw  # noqa: E402

COMMIT_LINES = int(os.environ.get("COMMIT_LINES", "10000"))
WRITERS = int(os.environ.get("WRITERS", "2"))
NO_MINUTE = -1  # that of a reject


class Line(pw.Schema):
    """A line of the log."""

    number: int
    line: bytes


class Lines(pw.io.python.ConnectorSubject):
    """The lines of a file with their numbers, which Pathway's connector for files does not know."""

    deletions_enabled = False

    def __init__(self, file):
        super().__init__()
        self.file = file

    def run(self):
        with open(self.file, "rb") as lines:
            for number, line in enumerate(lines):
                self.next(number=number, line=line.rstrip(b"\r\n"))
                if number % COMMIT_LINES == COMMIT_LINES - 1:
                    self.commit()


@pw.udf(deterministic=True)
def normalise(number: int, line: bytes) -> tuple[int, str, str, str, str, pw.PyObjectWrapper]:
    """What rollups are made of, and the document."""
    try:
        event = common.parse(number, line)
    except common.Reject as why:
        return NO_MINUTE, "", "", "", "", pw.PyObjectWrapper(common.reject(number, line, str(why)))
    minute = (event["ts"] - common.EPOCH) // common.MINUTE
    place = event["country"], event["city"]
    return minute, *place, event["device"], event["content_type"], pw.PyObjectWrapper(event)


class Documents(pw.io.python.ConnectorObserver):
    """Inserts the documents of a table that only grows."""

    def __init__(self, collection, writers):
        self.collection, self.writers, self.documents = collection, writers, []

    def on_change(self, key, row, time, is_addition):
        self.documents.append(row["document"].value)

    def on_time_end(self, time):
        if self.documents:
            self.writers.submit(partial(self.collection.insert_many, self.documents, ordered=False))
            self.documents = []


class Counts(pw.io.python.ConnectorObserver):
    """Adds what the counts of a table have become larger by, with one update a window, country and city."""

    def __init__(self, collection, writers):
        self.collection, self.writers, self.windows = collection, writers, {}

    def on_change(self, key, row, time, is_addition):
        n = row["n"] if is_addition else -row["n"]
        counts = self.windows.setdefault((row["minute"], row["country"], row["city"]), {"n": 0})
        counts["n"] += n
        counts[row["x"]] = counts.get(row["x"], 0) + n

    def on_time_end(self, time):
        self.writers.submit(common.add_windows, self.collection, self.windows)
        self.windows = {}


class Minutes(pw.io.python.ConnectorObserver):
    """Passes on the newest counts of minutes, which only grow."""

    def __init__(self, store, writers):
        self.store, self.writers, self.minutes = store, writers, {}

    def on_change(self, key, row, time, is_addition):
        if is_addition:
            self.minutes[common.EPOCH + row["minute"] * common.MINUTE] = row["n"]

    def on_time_end(self, time):
        if self.minutes:
            self.writers.submit(self.store, self.minutes)
            self.minutes = {}


def main(uri, name, file, limit):
    """Does the job."""
    logging.getLogger("pathway_engine").setLevel(logging.ERROR)
    database = common.prepare(common.connect(uri), name)
    writers = common.Writers(WRITERS, 16)
    ready = time.monotonic()

    lines = pw.io.python.read(Lines(file), schema=Line, autocommit_duration_ms=None, max_backlog_size=4 * COMMIT_LINES)
    parsed = lines.select(it=normalise(lines.number, lines.line))
    names = ["minute", "country", "city", "device", "content_type", "document"]
    parsed = parsed.select(**{name: parsed.it[index] for index, name in enumerate(names)})
    events = parsed.filter(parsed.minute != NO_MINUTE)
    rejects = parsed.filter(parsed.minute == NO_MINUTE)
    pw.io.python.write(events.select(events.document), Documents(database.access_events, writers))
    pw.io.python.write(rejects.select(rejects.document), Documents(database.access_rejects, writers))

    cells = events.select(
        events.minute, events.country, events.city, x="x." + events.device + "." + events.content_type, n=1
    )
    for collection, size in common.ROLLUPS.items():
        cells = cells.with_columns(minute=cells.minute - cells.minute % size)
        cells = cells.groupby(cells.minute, cells.country, cells.city, cells.x).reduce(
            cells.minute, cells.country, cells.city, cells.x, n=pw.reducers.sum(cells.n)
        )
        pw.io.python.write(cells, Counts(database[collection], writers))
        if size == 1:
            minutes = cells.groupby(cells.minute).reduce(cells.minute, n=pw.reducers.sum(cells.n))
            pw.io.python.write(minutes, Minutes(partial(common.set_minutes, database), writers))
            above = minutes.filter(minutes.n > limit)
            pw.io.python.write(above, Minutes(partial(common.add_alerts, database, limit), writers))

    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    writers.finish()
    common.print_result(database, STARTED, ready)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
