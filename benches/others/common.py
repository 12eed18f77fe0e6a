"""What the programs beside this file share: the rules for a line, the vocabularies, and the collections.

A line is a JSON object with user_id, timestamp, device, content_type, country and city; whatever else it has is
kept as `extra`. A line that breaks a rule is a reject, and the first rule that it breaks is its reason.
"""

import json
import time
import unicodedata
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from pymongo import MongoClient, UpdateOne

DEVICES = {
    "tv": "tv, smart tv, television, televisao, televisor, connected tv, ctv, android tv, apple tv, google tv, fire tv,"
    " roku, chromecast, web os, tizen, set top box, stb",
    "smartphone": "smartphone, phone, mobile, mobile phone, cell phone, celular, telefone, telemovel, iphone,"
    " android, android phone, ios",
    "tablet": "tablet, ipad, android tablet, kindle fire, fire tablet",
    "desktop": "desktop, computer, computador, pc, laptop, notebook, web, browser, navegador, mac, macbook, windows,"
    " linux, chromebook",
    "console": "console, game console, games console, videogame, playstation, ps4, ps5, xbox, xbox one, xbox series x,"
    " nintendo switch, switch",
    "other": "other, others, outro, outros, unknown, desconhecido",
}
CONTENT_TYPES = {
    "movie": "movie, movies, film, films, filme, filmes, feature, longa metragem",
    "series": "series, serie, tv series, tv show, show, episode, episodio, seriado, novela, season, temporada",
    "documentary": "documentary, documentaries, documentario, documentarios, doc, docs, docuseries",
    "live": "live, ao vivo, live tv, live stream, livestream, broadcast, transmissao, esporte ao vivo",
    "short": "short, shorts, clip, clipe, trailer, curta, curtas, curta metragem",
    "other": "other, others, outro, outros, unknown, desconhecido",
}
COUNTRIES = frozenset(
    """AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
    CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
    GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
    MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
    RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW""".split()
)
REQUIRED = ("user_id", "timestamp", "device", "content_type", "country", "city")
LINE_BYTES_MAX, LINE_KEPT_BYTES_MAX, USER_ID_BYTES_MAX, CITY_BYTES_MAX = 65536, 4096, 256, 96
EPOCH_SECONDS_END = 1e11  # smaller numbers are seconds, others milliseconds
YEARS = range(2000, 2100)
EPOCH = datetime(1970, 1, 1)
MINUTE = timedelta(minutes=1)
# Minutes in a window, by collection.
ROLLUPS = {"access_rollups_1m": 1, "access_rollups_1h": 60, "access_rollups_1d": 1440}


class Reject(Exception):
    """Why a line is no event."""


def folded(vocabulary):
    """The names of a vocabulary by their folded spellings."""
    return {fold(text): name for name, texts in vocabulary.items() for text in texts.split(", ")}


def fold(text):
    """A spelling reduced to what counts: lower case, without accents, spaces and punctuation."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).lower()))


DEVICES_FOLDED, CONTENT_TYPES_FOLDED = folded(DEVICES), folded(CONTENT_TYPES)


@lru_cache(maxsize=4096)
def device_name(text):
    """The name of a device, or None."""
    return DEVICES_FOLDED.get(fold(text))


@lru_cache(maxsize=4096)
def content_type_name(text):
    """The name of a content type, or None."""
    return CONTENT_TYPES_FOLDED.get(fold(text))


def refuse(value):
    """For a value that is none: raises ValueError."""
    raise ValueError(value)


def whole(text):
    """A whole number, as far as BSON holds it."""
    number = int(text)
    return number if -(2**63) <= number < 2**63 else float(text)


decode = json.JSONDecoder(parse_constant=refuse, parse_int=whole).decode


def parse(number, line):
    """The document of the event that a line (bytes) is; raises Reject."""
    if len(line) > LINE_BYTES_MAX:
        raise Reject("too_large")
    try:
        text = line.decode()
        fields = decode(text)
        if "\\u" in text:  # half of a surrogate pair is no character
            json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Reject("not_json") from None
    if type(fields) is not dict:
        raise Reject("not_object")
    user_id = take_text(fields, "user_id")
    if len(user_id) > USER_ID_BYTES_MAX // 4 and len(user_id.encode()) > USER_ID_BYTES_MAX:
        raise Reject("too_large")
    ts = take_time(fields)
    device_text = take_text(fields, "device")
    content_type_text = take_text(fields, "content_type")
    country = take_text(fields, "country").upper()
    if country not in COUNTRIES:
        raise Reject("bad_country")
    city = take_text(fields, "city")
    if len(city) > CITY_BYTES_MAX // 4 and len(city.encode()) > CITY_BYTES_MAX:
        raise Reject("too_large")
    device, content_type = device_name(device_text), content_type_name(content_type_text)
    if device is None:
        device, fields["device"] = "other", device_text
    if content_type is None:
        content_type, fields["content_type"] = "other", content_type_text
    document = {
        "_id": number,
        "ts": ts,
        "user_id": user_id,
        "device": device,
        "content_type": content_type,
        "country": country,
        "city": city,
    }
    if fields:
        document["extra"] = fields
    return document


def take_text(fields, name):
    """A required text, taken out of the fields."""
    if name not in fields:
        raise Reject("missing_field")
    text = fields.pop(name)
    if type(text) is not str:
        raise Reject("wrong_type")
    return text.strip() or missing()


def missing():
    """For a field that is absent or blank."""
    raise Reject("missing_field")


def take_time(fields):
    """The time (UTC, naive), taken out of the fields."""
    value = fields.get("timestamp")
    try:
        if type(value) is int or type(value) is float:
            del fields["timestamp"]
            ts = EPOCH + timedelta(milliseconds=value * 1000 if abs(value) < EPOCH_SECONDS_END else value)
        else:
            ts = time_of(take_text(fields, "timestamp"))
    except (ValueError, OverflowError):
        raise Reject("bad_timestamp") from None
    if ts.year not in YEARS:
        raise Reject("bad_timestamp")
    return ts


def time_of(text):
    """What an RFC 3339 text says (UTC, naive)."""
    if text[10:11] not in ("T", "t", " ") or text[16:17] != ":":
        raise ValueError(text)
    if text[-1] in "Zz":
        ts = datetime.fromisoformat(text[:-1])
        return ts if ts.tzinfo is None else refuse(text)
    ts = datetime.fromisoformat(text)
    return ts.astimezone(UTC).replace(tzinfo=None) if ts.tzinfo else refuse(text)


def reject(number, line, reason):
    """The document of a line (bytes) that is no event."""
    kept = line[:LINE_KEPT_BYTES_MAX].decode(errors="replace")
    return {"_id": number, "reason": reason, "line": kept, "bytes": len(line)}


def extra(line, device=None, content_type=None):
    """What an event's line (text) has beyond the required fields, and names that are in no vocabulary."""
    fields = decode(line)
    for name in REQUIRED:
        del fields[name]
    if device is not None:
        fields["device"] = device
    if content_type is not None:
        fields["content_type"] = content_type
    return fields


def connect(uri):
    """A client that waits for the majority."""
    return MongoClient(uri, w="majority")


def prepare(client, name):
    """The database, empty. Lines are clustered by number, so that there is no second index to write."""
    client.drop_database(name)
    database = client[name]
    for collection in ("access_events", "access_rejects"):
        database.create_collection(collection, clusteredIndex={"key": {"_id": 1}, "unique": True})
    return database


def insert(database, events, rejects):
    """Inserts events and rejects."""
    if events:
        database.access_events.insert_many(events, ordered=False)
    if rejects:
        database.access_rejects.insert_many(rejects, ordered=False)


def add_cells(database, cells, limit):
    """Adds accesses, counted by (minute, country, city, device, content type), to rollups and minutes."""
    for collection, size in ROLLUPS.items():
        windows = {}
        for (minute, country, city, device, content_type), n in cells.items():
            counts = windows.setdefault((minute - minute % size, country, city), {"n": 0})
            counts["n"] += n
            key = f"x.{device}.{content_type}"
            counts[key] = counts.get(key, 0) + n
        add_windows(database[collection], windows)
    minutes = {}
    for (minute, *_), n in cells.items():
        minutes[minute] = minutes.get(minute, 0) + n
    add_minutes(database, minutes, limit)


def add_windows(collection, windows):
    """Adds counts by (window, country, city) to a collection of rollups."""
    updates = [
        UpdateOne(
            {"_id": f"0|{country}|{minute:09}|{city}"},
            {"$inc": counts, "$setOnInsert": {"ts": EPOCH + minute * MINUTE, "country": country, "city": city}},
            upsert=True,
        )
        for (minute, country, city), counts in windows.items()
    ]
    if updates:
        collection.bulk_write(updates, ordered=False)


def add_minutes(database, minutes, limit):
    """Adds accesses to their minutes, and alerts of those minutes that are above the limit now."""
    if not minutes:
        return
    times = {EPOCH + minute * MINUTE: n for minute, n in minutes.items()}
    updates = [UpdateOne({"_id": ts}, {"$inc": {"n": n}}, upsert=True) for ts, n in times.items()]
    database.access_minutes.bulk_write(updates, ordered=False)
    above = database.access_minutes.find({"_id": {"$in": list(times)}, "n": {"$gt": limit}})
    add_alerts(database, limit, {minute["_id"]: minute["n"] for minute in above})


def set_minutes(database, minutes):
    """Stores what minutes (by their times) have become; an older count does not replace a newer one."""
    updates = [UpdateOne({"_id": ts}, {"$max": {"n": n}}, upsert=True) for ts, n in minutes.items()]
    database.access_minutes.bulk_write(updates, ordered=False)


def add_alerts(database, limit, above):
    """Adds alerts of minutes (their times, and how many accesses they have) that are above the limit."""
    updates = [
        UpdateOne(
            {"_id": f"limit|platform|{ts:%Y-%m-%dT%H:%MZ}"},
            {"$max": {"observed": n}, "$setOnInsert": {"kind": "limit", "ts": ts, "limit": limit}},
            upsert=True,
        )
        for ts, n in above.items()
    ]
    if updates:
        database.access_alerts.bulk_write(updates, ordered=False)


class Writers:
    """Threads that write while the program goes on: the driver waits for the server most of the time."""

    def __init__(self, threads, writing_max):
        self.pool = ThreadPoolExecutor(threads)
        self.writing = deque()
        self.writing_max = writing_max

    def submit(self, write, *arguments):
        """Lets a thread do it; waits when too much is waiting."""
        if len(self.writing) == self.writing_max:
            self.writing.popleft().result()
        self.writing.append(self.pool.submit(write, *arguments))

    def finish(self):
        """Waits until everything is written, and raises what failed."""
        while self.writing:
            self.writing.popleft().result()
        self.pool.shutdown()


def print_result(database, started, ready):
    """The one line that a program prints: seconds of the job, events stored, and seconds from start to job."""
    seconds, events = time.monotonic() - ready, database.access_events.count_documents({})
    print(f"seconds {seconds:.2f} events {events} start {ready - started:.2f}", flush=True)
