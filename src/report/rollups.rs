//! Sums over the rollups by country, city, device and content type, done by the server over the coarsest
//! windows that lie wholly in the period. Devices and content types are what the documents have, so this
//! knows no list.

use anyhow::Context;
use mongodb::Database;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use sink::schema::Level;

use super::CITIES_LISTED_MAX;
use super::answers::{CellCount, Cities, CityCount};
use super::peaks::MinuteCount;
use super::period::{Piece, Span, cover};
use super::query::{MINUTES_BATCH, count, push_minute, within};

/// The rollups' `_id` begins with one of at most this many zones.
const ZONES_MAX: usize = 64;

/// A country with what the `_id` of its rollups begins with.
pub(crate) struct Country {
    pub code: String,
    pub zones: Vec<String>,
}

/// The zones in use, found by hopping from the first `_id` of one to the first after it.
pub(crate) async fn zones(db: &Database) -> anyhow::Result<Vec<String>> {
    let rollups = db.collection::<RawDocumentBuf>(Level::Day.rollups());
    let mut zones: Vec<String> = Vec::new();
    let mut after = String::new();
    while zones.len() < ZONES_MAX {
        let next = rollups
            .find_one(doc! { "_id": { "$gte": &after } })
            .sort(doc! { "_id": 1 })
            .projection(doc! { "_id": 1 });
        let Some(found) = next.await? else { break };
        let id = found.get_str("_id")?;
        let (zone, _) = id.split_once('|').with_context(|| format!("rollup id {id:?} has no zone"))?;
        // `}` follows `|`, so this is after every `_id` of the zone.
        after = format!("{zone}}}");
        zones.push(zone.to_owned());
    }
    Ok(zones)
}

/// The accesses of one country per minute, in order of time.
pub(crate) async fn country_minutes(
    db: &Database,
    country: &Country,
    span: Span,
) -> anyhow::Result<Vec<MinuteCount>> {
    let pipeline = [
        doc! { "$match": rollup_filter(span, Some(country)) },
        doc! { "$group": { "_id": "$ts", "n": { "$sum": "$n" } } },
    ];
    let mut cursor = db
        .collection::<RawDocumentBuf>(Level::Minute.rollups())
        .aggregate(pipeline)
        .allow_disk_use(true)
        .batch_size(MINUTES_BATCH)
        .await?;
    let mut minutes = Vec::new();
    while cursor.advance().await? {
        push_minute(&mut minutes, cursor.current())?;
    }
    // Here rather than by the server, which has other work.
    minutes.sort_unstable_by_key(|minute| minute.minute);
    Ok(minutes)
}

/// The accesses of every (country, device, content type).
pub(crate) async fn cells(
    db: &Database,
    span: Span,
    country: Option<&Country>,
) -> anyhow::Result<Vec<CellCount>> {
    let key = doc! { "country": "$country", "device": "$device", "content_type": "$content.k" };
    let Some((collection, mut pipeline)) = over_pieces(span, country, &unfold_and_sum(key)) else {
        return Ok(Vec::new());
    };
    pipeline.push(doc! { "$group": { "_id": "$_id", "n": { "$sum": "$n" } } });
    let mut cursor =
        db.collection::<RawDocumentBuf>(collection).aggregate(pipeline).allow_disk_use(true).await?;
    let mut cells = Vec::new();
    while cursor.advance().await? {
        let raw = cursor.current();
        let key = raw.get_document("_id")?;
        cells.push(CellCount {
            country: key.get_str("country")?.to_owned(),
            device: key.get_str("device")?.to_owned(),
            content_type: key.get_str("content_type")?.to_owned(),
            n: count(raw, "n")?,
        });
    }
    Ok(cells)
}

/// The busiest cities with their content types.
pub(crate) async fn cities(db: &Database, span: Span, country: Option<&Country>) -> anyhow::Result<Cities> {
    let key = doc! { "country": "$country", "city": "$city", "content_type": "$content.k" };
    let Some((collection, mut pipeline)) = over_pieces(span, country, &unfold_and_sum(key)) else {
        return Ok(Cities::default());
    };
    let city = doc! { "country": "$_id.country", "city": "$_id.city", "content_type": "$_id.content_type" };
    pipeline.push(doc! { "$group": { "_id": city, "n": { "$sum": "$n" } } });
    pipeline.push(doc! { "$group": {
        "_id": { "country": "$_id.country", "city": "$_id.city" },
        "n": { "$sum": "$n" },
        "contents": { "$push": { "content_type": "$_id.content_type", "n": "$n" } },
    } });
    pipeline.push(doc! { "$facet": {
        "listed": [
            { "$sort": { "n": -1, "_id.country": 1, "_id.city": 1 } },
            { "$limit": CITIES_LISTED_MAX as i64 },
        ],
        "total": [{ "$count": "cities" }],
    } });
    let mut cursor =
        db.collection::<RawDocumentBuf>(collection).aggregate(pipeline).allow_disk_use(true).await?;
    let mut cities = Cities::default();
    while cursor.advance().await? {
        let raw = cursor.current();
        for total in raw.get_array("total")? {
            cities.total = count(total?.as_document().context("$count gives documents")?, "cities")?;
        }
        for city in raw.get_array("listed")? {
            cities.listed.push(city_count(city?.as_document().context("$facet gives documents")?)?);
        }
    }
    Ok(cities)
}

/// The rollups of a span. For one country the `_id` narrows what is read to that country's windows; `ts`
/// decides.
fn rollup_filter(span: Span, country: Option<&Country>) -> Document {
    let mut filter = within("ts", span);
    if let Some(Country { code, zones }) = country {
        let ranges: Vec<Document> = zones
            .iter()
            .map(|zone| {
                let (from, to) = id_range(zone, code, span);
                doc! { "_id": { "$gte": from, "$lt": to } }
            })
            .collect();
        filter.insert("country", code);
        if !ranges.is_empty() {
            filter.insert("$or", ranges);
        }
    }
    filter
}

/// The range of `_id` that a country's windows of a span lie in. Windows are nine digits there, which sort as
/// numbers do from 1970 to the year 3871; beyond, the range is all of the country.
fn id_range(zone: &str, country: &str, span: Span) -> (String, String) {
    const WINDOW_MAX: i64 = 999_999_999;
    if span.from >= 0 && span.to <= WINDOW_MAX {
        let at = |minute: i64| format!("{zone}|{country}|{minute:09}|");
        (at(span.from), at(span.to))
    } else {
        (format!("{zone}|{country}|"), format!("{zone}|{country}}}"))
    }
}

/// A pipeline that runs `stages` over the rollups of every piece of the period and hands on all their
/// results, with the collection it is to be run on. `None` when the period has no minute.
fn over_pieces(
    span: Span,
    country: Option<&Country>,
    stages: &[Document],
) -> Option<(&'static str, Vec<Document>)> {
    let pieces = cover(span);
    let of_piece = |piece: &Piece| -> Vec<Document> {
        let filter = doc! { "$match": rollup_filter(piece.span, country) };
        std::iter::once(filter).chain(stages.iter().cloned()).collect()
    };
    let (first, others) = pieces.split_first()?;
    let mut pipeline = of_piece(first);
    for piece in others {
        pipeline.push(doc! { "$unionWith": { "coll": piece.level.rollups(), "pipeline": of_piece(piece) } });
    }
    Some((first.level.rollups(), pipeline))
}

/// The stages that turn `x.<device>.<content_type>` of rollups into sums, grouped by `key`, whose fields may
/// name `$country`, `$city`, `$device` and `$content.k`. Devices and content types are what the documents
/// have.
fn unfold_and_sum(key: Document) -> Vec<Document> {
    vec![
        doc! { "$project": { "country": 1, "city": 1, "x": { "$objectToArray": "$x" } } },
        doc! { "$unwind": "$x" },
        doc! { "$project": {
            "country": 1, "city": 1, "device": "$x.k", "content": { "$objectToArray": "$x.v" },
        } },
        doc! { "$unwind": "$content" },
        doc! { "$group": { "_id": key, "n": { "$sum": "$content.v" } } },
    ]
}

fn city_count(raw: &RawDocument) -> anyhow::Result<CityCount> {
    let key = raw.get_document("_id")?;
    let mut contents = Vec::new();
    for content in raw.get_array("contents")? {
        let content = content?;
        let content = content.as_document().context("$push gives documents")?;
        contents.push((content.get_str("content_type")?.to_owned(), count(content, "n")?));
    }
    Ok(CityCount {
        country: key.get_str("country")?.to_owned(),
        city: key.get_str("city")?.to_owned(),
        n: count(raw, "n")?,
        contents,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_id_range_covers_its_windows_and_no_neighbor() {
        let (from, to) = id_range("0", "BR", Span { from: 60, to: 120 });
        expect!["0|BR|000000060|..0|BR|000000120|"].assert_eq(&format!("{from}..{to}"));
        let inside = |id: &str| from.as_str() <= id && id < to.as_str();
        assert!(inside("0|BR|000000060|") && inside("0|BR|000000119|São Paulo"));
        assert!(!inside("0|BR|000000059|\u{10ffff}") && !inside("0|BR|000000120|A"));
        for wide in [Span { from: -1, to: 5 }, Span { from: 0, to: 1_000_000_000 }] {
            expect!["0|BR|..0|BR}"].assert_eq(&format!(
                "{}..{}",
                id_range("0", "BR", wide).0,
                id_range("0", "BR", wide).1
            ));
        }
    }
}
