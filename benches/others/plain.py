"""Reads a log (NDJSON) into MongoDB with pymongo alone: events, rejects, rollups, minutes and alerts.

    python plain.py MONGODB_URI DATABASE FILE LIMIT

One process; while batches are written, the next one is read. DATABASE is dropped first. LIMIT is the number of
accesses a minute above which a minute alerts. Prints how many seconds it took and how many events are stored.
"""

import os
import sys
import time
from collections import Counter

from common import EPOCH, MINUTE, Reject, Writers, add_cells, connect, insert, parse, prepare, print_result, reject

BATCH_LINES = int(os.environ.get("BATCH_LINES", "10000"))
WRITERS = int(os.environ.get("WRITERS", "2"))


def main(uri, name, file, limit):
    """Does the job."""
    started = time.monotonic()
    database = prepare(connect(uri), name)
    ready = time.monotonic()
    writers = Writers(WRITERS, 2 * WRITERS)
    for batch in batches(file):
        writers.submit(write, database, *batch, limit)
    writers.finish()
    print_result(database, started, ready)


def batches(file):
    """Events, rejects and counts of so many lines each."""
    events, rejects, cells = [], [], []
    with open(file, "rb") as lines:
        for number, line in enumerate(lines):
            line = line.rstrip(b"\r\n")
            try:
                event = parse(number, line)
            except Reject as why:
                rejects.append(reject(number, line, str(why)))
            else:
                events.append(event)
                minute = (event["ts"] - EPOCH) // MINUTE
                cells.append((minute, event["country"], event["city"], event["device"], event["content_type"]))
            if len(events) + len(rejects) == BATCH_LINES:
                yield events, rejects, Counter(cells)
                events, rejects, cells = [], [], []
    if events or rejects:
        yield events, rejects, Counter(cells)


def write(database, events, rejects, cells, limit):
    """Writes what a batch has."""
    insert(database, events, rejects)
    add_cells(database, cells, limit)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
