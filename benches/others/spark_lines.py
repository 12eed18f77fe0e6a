"""What lines are, as column expressions of Spark: the same rules as in `common`, without Python for each line."""

import common
from pyspark.sql import functions as F

# No leniency: what is no JSON is a reject.
JSON = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false", "columnNameOfCorruptRecord": "corrupt"}
ACCENTED, PLAIN = "áàâãäéèêëíìîïóòôõöúùûüçñ", "aaaaaeeeeiiiiooooouuuucn"
DROPPED = " -_.,/'\u0300\u0301\u0302\u0303\u0308\u0327"
RFC_3339 = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
NUMBER = r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"
LONE_SURROGATE = r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]"
SPACES = " \t\r\n"


def parse(lines):
    """Events and rejects, which have a `reason`, of lines with their `number`."""
    line = F.col("line")
    schema = ", ".join(f"{name} string" for name in (*common.REQUIRED, "corrupt"))
    lines = lines.select("number", "line", F.from_json(line, schema, JSON).alias("it"))
    trimmed = [F.trim(F.col(f"it.{name}"), F.lit(SPACES)).alias(name) for name in common.REQUIRED]
    lines = lines.select("number", "line", "it.corrupt", *trimmed)
    lines = lines.select(
        "*",
        time_of(F.col("timestamp"), line).alias("ts"),
        F.translate(F.lower("device"), ACCENTED + DROPPED, PLAIN).alias("folded_device"),
        F.translate(F.lower("content_type"), ACCENTED + DROPPED, PLAIN).alias("folded_content_type"),
    )
    lines = lines.select(
        "*",
        reason(line).alias("reason"),
        name_of("folded_device", common.DEVICES).alias("d"),
        name_of("folded_content_type", common.CONTENT_TYPES).alias("t"),
    )
    return lines.select(
        "number",
        F.make_valid_utf8(line).alias("line"),
        "reason",
        "ts",
        "user_id",
        F.coalesce("d", F.lit("other")).alias("device"),
        F.coalesce("t", F.lit("other")).alias("content_type"),
        F.upper("country").alias("country"),
        "city",
        F.when(F.col("d").isNull(), F.col("device")).alias("other_device"),
        F.when(F.col("t").isNull(), F.col("content_type")).alias("other_content_type"),
    )


def time_of(text, line):
    """The time (UTC, without a zone) that a text says, or null. In the line it is a string or a number."""
    number = text.try_cast("double")
    milliseconds = F.when(F.abs(number) < common.EPOCH_SECONDS_END, number * 1000).otherwise(number)
    is_number = text.rlike(NUMBER) & (F.abs(number) < 1e14) & ~line.rlike(r'"timestamp"\s*:\s*"')
    ts = F.when(text.rlike(RFC_3339), F.upper(text).try_cast("timestamp"))
    ts = ts.when(is_number, F.timestamp_millis(milliseconds.try_cast("long"))).cast("timestamp_ntz")
    return F.when(F.year(ts).between(common.YEARS[0], common.YEARS[-1]), ts)


def name_of(folded, vocabulary):
    """The name in a vocabulary that a column's folded spelling stands for, or null."""
    spellings = {name: [] for name in vocabulary}
    for text, name in common.folded(vocabulary).items():
        spellings[name].append(text)
    cases = (f"WHEN {is_in(folded, texts)} THEN '{name}'" for name, texts in spellings.items())
    return F.expr(f"CASE {' '.join(cases)} END")


def is_in(column, texts):
    """SQL for whether a column is one of some texts; many times faster to make than with `isin`."""
    return f"{column} IN ({', '.join(map(repr, texts))})"


def reason(line):
    """Why a line is no event, or null."""
    text = F.trim(line, F.lit(SPACES))
    return F.coalesce(
        F.when(F.octet_length(line) > common.LINE_BYTES_MAX, "too_large"),
        F.when(~text.startswith("{"), F.when(F.try_parse_json(line).isNull(), "not_json").otherwise("not_object")),
        F.when(F.col("corrupt").isNotNull() | ~text.endswith("}") | ~F.is_valid_utf8(line), "not_json"),
        F.when(line.contains("\\u") & line.rlike(LONE_SURROGATE), "not_json"),
        *text_reasons("user_id", line),
        F.when(F.octet_length("user_id") > common.USER_ID_BYTES_MAX, "too_large"),
        F.when(F.col("ts").isNull(), F.coalesce(*text_reasons("timestamp", line), F.lit("bad_timestamp"))),
        *text_reasons("device", line),
        *text_reasons("content_type", line),
        *text_reasons("country", line),
        F.when(~F.expr(is_in("upper(country)", sorted(common.COUNTRIES))), "bad_country"),
        *text_reasons("city", line),
        F.when(F.octet_length("city") > common.CITY_BYTES_MAX, "too_large"),
    )


def text_reasons(name, line):
    """Why a field is no text, where it is none. A value of another type is there as it stands in the line."""
    text = F.col(name)
    other = text.isNull() | text.isin("true", "false") | text.substr(1, 1).isin("[", "{")
    if name != "timestamp":
        other |= text.rlike(NUMBER)
    wrong_type = F.when(other & line.rlike(rf'"{name}"\s*:\s*[^"\s]'), "wrong_type")
    return wrong_type, F.when(text.isNull() | (text == ""), "missing_field")
