"""Reads a log (NDJSON) into MongoDB with Spark Structured Streaming: events, rejects, rollups, minutes and alerts.

    JAVA_HOME=... python with_spark.py MONGODB_URI DATABASE FILE LIMIT

Lines become events by column expressions in the JVM; Python workers only write the documents. The file is read as a
stream of what is available now. DATABASE is dropped first. LIMIT is the number of accesses a minute above which a
minute alerts. Prints how many seconds it took and how many events are stored.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import common
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from spark_lines import parse

CORES = int(os.environ.get("SPARK_CORES", "2"))
MEMORY = os.environ.get("SPARK_MEMORY", "4g")
# What an event's document has between its `_id` and `extra`.
DOCUMENT = ["ts", "user_id", "device", "content_type", "country", "city"]


def values_of(column):
    """A column's values for Python; times by way of NumPy, which makes them many times faster."""
    if str(column.type).startswith("timestamp"):
        return column.to_numpy(zero_copy_only=False).astype("M8[ms]").tolist()
    return column.to_pylist()


def line_writer(uri, name):
    """Inserts a partition's events and rejects."""

    def write(batches):
        with common.connect(uri) as client:
            for batch in batches:
                events, rejects = [], []
                for number, line, reason, *values in zip(*map(values_of, batch.columns)):
                    if reason is not None:
                        rejects.append(common.reject(number, line.encode(), reason))
                        continue
                    *values, device, content_type = values
                    event = {"_id": number, **dict(zip(DOCUMENT, values))}
                    extra = common.extra(line, device, content_type)
                    if extra:
                        event["extra"] = extra
                    events.append(event)
                common.insert(client[name], events, rejects)
        yield from ()

    return write


def window_writer(uri, name):
    """Adds a partition's windows to the rollups of their size."""

    def write(batches):
        with common.connect(uri) as client:
            for batch in batches:
                windows = {size: {} for size in common.ROLLUPS.values()}
                for size, *window, n, counts in zip(*map(values_of, batch.columns)):
                    windows[size][tuple(window)] = dict(counts, n=n)
                for collection, size in common.ROLLUPS.items():
                    common.add_windows(client[name][collection], windows[size])
        yield from ()

    return write


def main(uri, name, file, limit):
    """Does the job."""
    started = time.monotonic()
    spark = session()
    database = common.prepare(common.connect(uri), name)
    ready = time.monotonic()

    def write(batch, _):
        parsed = parse(numbered(batch)).persist()
        run(parsed.mapInArrow(line_writer(uri, name), "done int"))
        minute = F.expr("CAST(unix_seconds(CAST(ts AS timestamp)) DIV 60 AS int)").alias("minute")
        x = F.concat_ws(".", F.lit("x"), "device", "content_type").alias("x")
        cells = parsed.filter("reason IS NULL").select(minute, "country", "city", x, F.lit(1).alias("n"))
        cells = cells.groupBy("minute", "country", "city", "x").agg(F.sum("n").alias("n")).persist()
        minutes = dict(cells.groupBy("minute").agg(F.sum("n")).collect())
        common.add_minutes(database, minutes, limit)
        sizes = F.explode(F.array(*map(F.lit, common.ROLLUPS.values()))).alias("size")
        windows = cells.select("*", sizes).withColumn("minute", F.expr("minute - minute % size"))
        windows = windows.groupBy("size", "minute", "country", "city", "x").agg(F.sum("n").alias("n"))
        counts = F.map_from_entries(F.collect_list(F.struct("x", "n")))
        windows = windows.groupBy("size", "minute", "country", "city").agg(F.sum("n"), counts)
        run(windows.mapInArrow(window_writer(uri, name), "done int"))
        spark.catalog.clearCache()

    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder, "logs")
        logs.mkdir()
        (logs / "access.ndjson").symlink_to(Path(file).resolve(strict=True))
        stream = spark.readStream.option("lineSep", "\n").text(str(logs)).writeStream.foreachBatch(write)
        stream = stream.trigger(availableNow=True).option("checkpointLocation", f"{folder}/checkpoint")
        stream.start().awaitTermination()
    common.print_result(database, started, ready)
    spark.stop()


def numbered(lines):
    """Lines with their numbers in the file, from one partition to the next."""
    lines = lines.select(F.rtrim("value", F.lit("\r")).alias("line"), F.monotonically_increasing_id().alias("id"))
    partition, first = F.shiftright("id", 33), F.lit(0)
    counted, before = dict(lines.groupBy(partition).count().collect()), 0
    for index in sorted(counted):
        first = F.when(partition == index, before).otherwise(first)
        before += counted[index]
    return lines.select("line", (first + F.col("id").bitwiseAND((1 << 33) - 1)).alias("number"))


def run(rows):
    """Makes rows that are not needed."""
    rows.write.format("noop").mode("overwrite").save()


def session():
    """Spark in this process, as small as the job."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(f"local[{CORES}]").config("spark.driver.memory", MEMORY)
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(CORES),
        "spark.sql.adaptive.enabled": "false",
        "spark.log.level": "ERROR",
        # The generated methods are long; without this the JVM interprets them.
        "spark.driver.extraJavaOptions": "-XX:-DontCompileHugeMethods",
    }
    for key, setting in settings.items():
        builder = builder.config(key, setting)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.sparkContext.addPyFile(str(Path(common.__file__)))
    return spark


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
