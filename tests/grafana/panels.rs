//! What each type of panel needs of the frames it draws.

use std::collections::BTreeSet;

use serde_json::Value;

use super::frames::{Field, Frame, Kind};

type Check = Result<(), String>;

/// Whether no query found anything; the panel then shows its `noValue`.
pub fn is_empty(frames: &[(String, Frame)]) -> bool {
    frames.iter().all(|(_, frame)| frame.fields.is_empty())
}

/// Checks the frames of a panel, one for each target, by what its type needs.
pub fn check_panel(panel: &Value, frames: &[(String, Frame)]) -> Check {
    let organize = Organize::of(panel);
    let mut names = Vec::new();
    for (ref_id, frame) in frames.iter().filter(|(_, frame)| !frame.fields.is_empty()) {
        check_names(frame)
            .and_then(|()| check_frame(panel, &organize, frame))
            .map_err(|error| format!("{ref_id}: {error}"))?;
        names.extend(series(panel, &organize, frame).into_iter().map(|name| (ref_id.as_str(), name)));
    }
    check_colors(panel, &names)
}

/// Checks what marks a graph: only these names are looked at.
pub fn check_annotation(frame: &Frame) -> Check {
    if frame.fields.is_empty() {
        return Ok(());
    }
    let of_kind = |name: &str, kind: Kind| match frame.field(name) {
        Some(field) if field.kind == kind => Ok(Some(field)),
        Some(field) => Err(format!("{name} is {:?}, not {kind:?}", field.kind)),
        None => Ok(None),
    };
    let time = of_kind("time", Kind::Time)?.ok_or("no field time, so nothing is drawn")?;
    ensure(time.values.iter().all(Option::is_some), || "time is null somewhere".to_owned())?;
    of_kind("text", Kind::Text)?.ok_or("no field text, so nothing is drawn")?;
    of_kind("timeEnd", Kind::Time)?;
    of_kind("title", Kind::Text)?;
    // One text with commas.
    of_kind("tags", Kind::Text)?;
    Ok(())
}

/// Checks what fills the list of a variable.
pub fn check_variable(frame: &Frame) -> Check {
    if frame.fields.is_empty() {
        return Ok(());
    }
    let value = frame.field("value").ok_or("no field value, so the list is empty")?;
    ensure(value.values.iter().all(Option::is_some), || "value is null somewhere".to_owned())?;
    // The plugin's 0.5.0 drops rows with an int64.
    ensure(matches!(value.kind, Kind::Text | Kind::Int32 | Kind::Float64), || {
        format!("value is {:?}: cast it with $toString", value.kind)
    })?;
    let text = frame.field("text").is_none_or(|text| text.kind == Kind::Text);
    ensure(text, || "text is not a text, so it is not looked at".to_owned())
}

fn ensure(holds: bool, error: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(error()) }
}

fn check_names(frame: &Frame) -> Check {
    for field in &frame.fields {
        let name = &field.name;
        ensure(name != "_id", || "a stray _id: end with \"_id\": 0".to_owned())?;
        ensure(!name.contains('.'), || format!("{name}: a name with a dot"))?;
        ensure(!field.is_unsupported(), || format!("{name}: a type the plugin does not know; $toDouble it"))?;
    }
    Ok(())
}

/// What the `organize` transformation of a panel does.
struct Organize<'a> {
    transformation: Option<&'a Value>,
}

impl<'a> Organize<'a> {
    fn of(panel: &'a Value) -> Self {
        Self { transformation: transformation(panel, "organize") }
    }

    fn option(&self, key: &str, name: &str) -> Option<&'a Value> {
        self.transformation?.get("options")?.get(key)?.get(name)
    }

    fn index(&self, name: &str) -> Option<u64> {
        self.option("indexByName", name)?.as_u64()
    }

    /// The fields that it leaves.
    fn left<'f>(&self, frame: &'f Frame) -> Vec<&'f Field> {
        let is_excluded =
            |name: &str| self.option("excludeByName", name).is_some_and(|value| value == &Value::Bool(true));
        frame.fields.iter().filter(|field| !is_excluded(&field.name)).collect()
    }

    /// Column order is random, so each column needs a place.
    fn check_places(&self, fields: &[&Field]) -> Check {
        let placed: BTreeSet<_> = fields.iter().filter_map(|field| self.index(&field.name)).collect();
        let without = fields.iter().find(|field| self.index(&field.name).is_none());
        ensure(without.is_none(), || {
            format!(
                "the place of {} is random: organize has no indexByName for it",
                without.expect("it is").name
            )
        })?;
        ensure(placed.len() == fields.len(), || "organize gives one place to several columns".to_owned())
    }
}

fn transformation<'a>(panel: &'a Value, id: &str) -> Option<&'a Value> {
    let transformations = panel["transformations"].as_array()?;
    transformations.iter().find(|one| one["id"] == id && one["disabled"] != Value::Bool(true))
}

/// The fields that `partitionByValues` splits a frame by.
fn partitions(panel: &Value) -> Vec<&str> {
    let fields = transformation(panel, "partitionByValues").map(|one| &one["options"]["fields"]);
    fields.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn of_kind<'f>(fields: &[&'f Field], is_kind: impl Fn(Kind) -> bool) -> Vec<&'f Field> {
    fields.iter().copied().filter(|field| is_kind(field.kind)).collect()
}

fn list(fields: &[&Field]) -> String {
    fields.iter().map(|field| format!("{} {:?}", field.name, field.kind)).collect::<Vec<_>>().join(", ")
}

fn check_frame(panel: &Value, organize: &Organize, frame: &Frame) -> Check {
    let fields = organize.left(frame);
    let texts = of_kind(&fields, |kind| kind == Kind::Text);
    let numbers = of_kind(&fields, Kind::is_number);
    let all = || list(&fields);
    match panel["type"].as_str().unwrap_or_default() {
        "text" | "row" => Ok(()),
        "timeseries" => {
            check_time(&fields)?;
            ensure(!numbers.is_empty(), || format!("nothing to draw: {}", all()))?;
            check_partitions(panel, &texts)?;
            check_none(&fields, Kind::Json)
        }
        "stat" | "gauge" | "bargauge" => check_values(panel, organize, &fields, frame.rows()),
        "piechart" => {
            let is_pair = fields.len() == 2 && texts.len() == 1 && numbers.len() == 1;
            ensure(is_pair, || format!("not one text and one number: {}", all()))?;
            let by_row = panel["options"]["reduceOptions"]["values"] == Value::Bool(true);
            ensure(by_row, || "reduceOptions.values is not true: one slice in all".to_owned())
        }
        "barchart" => {
            let x_name =
                panel["options"]["xField"].as_str().ok_or("no xField: the first column is random")?;
            ensure(fields.iter().any(|field| field.name == x_name), || format!("no field {x_name}"))?;
            let bars: Vec<_> = fields.iter().copied().filter(|field| field.name != x_name).collect();
            check_bars(&bars)?;
            // With names for colors, only the order of the bars of a group would be random.
            if bars.len() > 1 { organize.check_places(&bars) } else { Ok(()) }
        }
        "table" => {
            organize.check_places(&fields)?;
            check_none(&fields, Kind::Json)
        }
        "heatmap" => check_heatmap(organize, &fields),
        "geomap" => check_map(panel, &fields, &numbers),
        "state-timeline" => {
            check_time(&fields)?;
            ensure(fields.len() > 1, || format!("nothing to draw: {}", all()))?;
            check_none(&fields, Kind::Json)
        }
        other => Err(format!("no contract of a panel of type {other:?}")),
    }
}

/// Exactly one time, ascending.
fn check_time(fields: &[&Field]) -> Check {
    let [time] = of_kind(fields, |kind| kind == Kind::Time)[..] else {
        return Err(format!("not one time: {}", list(fields)));
    };
    ensure(time.is_ascending(), || format!("{} is not ascending or is null somewhere: $sort", time.name))
}

fn check_none(fields: &[&Field], kind: Kind) -> Check {
    let found = of_kind(fields, |of| of == kind);
    ensure(found.is_empty(), || format!("cannot be drawn: {}", list(&found)))
}

fn check_partitions(panel: &Value, texts: &[&Field]) -> Check {
    let partitions = partitions(panel);
    let missing = partitions.iter().find(|name| !texts.iter().any(|text| text.name == **name));
    ensure(missing.is_none(), || format!("no text {missing:?} to split by"))?;
    let unsplit = texts.iter().find(|text| !partitions.contains(&text.name.as_str()));
    ensure(unsplit.is_none(), || {
        format!("a long frame: nothing splits it by {}", unsplit.expect("it is").name)
    })
}

/// Values that are shown side by side need names, and several columns of them an order.
fn check_values(panel: &Value, organize: &Organize, fields: &[&Field], rows: usize) -> Check {
    let options = &panel["options"];
    let chosen = options["reduceOptions"]["fields"].as_str().unwrap_or_default();
    let chosen = chosen.strip_prefix("/^").and_then(|rest| rest.strip_suffix("$/"));
    let shown: Vec<_> = match chosen {
        Some(name) => fields.iter().copied().filter(|field| field.name == name).collect(),
        None => of_kind(fields, Kind::is_number),
    };
    ensure(!shown.is_empty(), || format!("nothing to show: {}", list(fields)))?;
    if shown.len() > 1 {
        organize.check_places(&shown)?;
    }
    let by_row = options["reduceOptions"]["values"] == Value::Bool(true) && rows > 1;
    let texts = of_kind(fields, |kind| kind == Kind::Text);
    ensure(!by_row || texts.len() == 1, || format!("not one text to name the rows: {}", list(&texts)))?;
    let is_unnamed = matches!(options["textMode"].as_str(), Some("value" | "none"))
        || options["namePlacement"] == "hidden";
    ensure(!is_unnamed || (shown.len() == 1 && !by_row), || "several values without their names".to_owned())
}

fn check_bars(bars: &[&Field]) -> Check {
    let other = bars.iter().find(|field| !field.kind.is_number());
    ensure(other.is_none(), || format!("not a number: {}", list(bars)))?;
    ensure(!bars.is_empty(), || "no bars".to_owned())
}

fn check_heatmap(organize: &Organize, fields: &[&Field]) -> Check {
    let x = fields.iter().filter(|field| organize.index(&field.name).is_some());
    let x =
        x.min_by_key(|field| organize.index(&field.name)).ok_or("x is random: organize names no field")?;
    ensure(x.kind == Kind::Time || x.kind.is_number(), || format!("x is {} {:?}", x.name, x.kind))?;
    let rows: Vec<_> = fields.iter().copied().filter(|field| field.name != x.name).collect();
    check_bars(&rows)?;
    // Grafana sorts rows itself where all their names are numbers.
    let is_sorted = rows.iter().all(|row| row.name.parse::<f64>().is_ok());
    if is_sorted { Ok(()) } else { organize.check_places(fields) }
}

fn check_map(panel: &Value, fields: &[&Field], numbers: &[&Field]) -> Check {
    let layers = panel["options"]["layers"].as_array().filter(|layers| !layers.is_empty());
    for layer in layers.ok_or("no layers")? {
        let location = &layer["location"];
        ensure(location["mode"] == "lookup", || "a layer that does not look its places up".to_owned())?;
        ensure(location["gazetteer"].is_string(), || "a lookup without a gazetteer".to_owned())?;
        let name = location["lookup"].as_str().ok_or("a lookup without a field")?;
        let is_text = fields.iter().any(|field| field.name == name && field.kind == Kind::Text);
        ensure(is_text, || format!("no text {name} to look up"))?;
    }
    ensure(!numbers.is_empty(), || "no number to size or color by".to_owned())
}

/// The names of what a frame adds to a panel, each with a color of its own.
fn series(panel: &Value, organize: &Organize, frame: &Frame) -> Vec<String> {
    let fields = organize.left(frame);
    let is_x = |field: &Field| panel["options"]["xField"] == field.name.as_str();
    let numbers = of_kind(&fields, Kind::is_number).into_iter().filter(|field| !is_x(field));
    let splits = if panel["type"] == "piechart" {
        of_kind(&fields, |kind| kind == Kind::Text)
    } else {
        partitions(panel).into_iter().filter_map(|name| frame.field(name)).collect()
    };
    if splits.is_empty() {
        let renamed = |field: &Field| {
            let name = organize.option("renameByName", &field.name).and_then(Value::as_str);
            name.unwrap_or(&field.name).to_owned()
        };
        return numbers.map(renamed).collect();
    }
    let names: BTreeSet<_> = splits.iter().flat_map(|field| field.texts()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The order of series is random, so that their colors must not follow from it.
fn check_colors(panel: &Value, series: &[(&str, String)]) -> Check {
    let is_pie = panel["type"] == "piechart";
    if !is_pie && panel["type"] != "timeseries" && panel["type"] != "barchart" {
        return Ok(());
    }
    // A pivot makes as many columns as there are values.
    let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let pivots =
        |target: &Value| target["queryText"].as_str().is_some_and(|text| text.contains("$arrayToObject"));
    let is_one = !is_pie && series.len() < 2 && partitions(panel).is_empty() && !targets.iter().any(pivots);
    let mode = panel["fieldConfig"]["defaults"]["color"]["mode"].as_str().unwrap_or("palette-classic");
    if is_one || mode == "palette-classic-by-name" {
        return Ok(());
    }
    ensure(mode == "fixed" || mode == "thresholds", || format!("colors by order: color.mode is {mode}"))?;
    let overrides = panel["fieldConfig"]["overrides"].as_array().map_or(&[][..], Vec::as_slice);
    let is_colored = |ref_id: &str, name: &str| {
        overrides.iter().any(|one| {
            let matcher = &one["matcher"];
            let is_of = (matcher["id"] == "byName" && matcher["options"] == name)
                || (matcher["id"] == "byFrameRefID" && matcher["options"] == ref_id);
            let properties = one["properties"].as_array();
            is_of && properties.is_some_and(|all| all.iter().any(|property| property["id"] == "color"))
        })
    };
    let plain = series.iter().find(|(ref_id, name)| !is_colored(ref_id, name));
    ensure(plain.is_none(), || {
        format!("color.mode is {mode} and no override colors {:?}", plain.expect("it is").1)
    })
}
