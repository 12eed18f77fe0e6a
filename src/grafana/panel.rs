//! Panels, and where they stand.

use serde_json::{Map, Value, json};

use super::{datasource, target};
use crate::queries::Query;

/// Columns of the grid.
const GRID: u32 = 24;

/// A panel that is being put together.
pub(super) struct Panel {
    kind: &'static str,
    title: String,
    description: String,
    targets: Vec<Value>,
    defaults: Map<String, Value>,
    overrides: Vec<Value>,
    options: Value,
    transformations: Vec<Value>,
    more: Map<String, Value>,
    size: (u32, u32),
}

impl Panel {
    /// A panel of `size` (columns of 24, rows) that shows `query`.
    pub fn new(kind: &'static str, size: (u32, u32), title: &str, description: &str, query: &Query) -> Self {
        let defaults = json!({
            "unit": "short", "decimals": 0, "noValue": "no data in this period", "mappings": [], "custom": {},
            "color": { "mode": "palette-classic-by-name" },
            "thresholds": { "mode": "absolute", "steps": [{ "color": "green", "value": null }] },
        });
        let Value::Object(defaults) = defaults else { unreachable!("it is written as an object") };
        Self {
            kind,
            title: title.to_owned(),
            description: description.to_owned(),
            targets: vec![target("A", query)],
            defaults,
            overrides: Vec::new(),
            options: json!({}),
            transformations: Vec::new(),
            more: Map::new(),
            size,
        }
    }

    /// Values over time. Buckets are a minute at least, and not more than a picture has room for.
    pub fn over_time(size: (u32, u32), title: &str, description: &str, query: &Query) -> Self {
        let custom = json!({
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
            "lineInterpolation": "linear", "axisSoftMin": 0, "stacking": { "mode": "none", "group": "A" },
        });
        Self::new("timeseries", size, title, description, query)
            .default("custom", custom)
            .options(json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }))
            .more("interval", json!("1m"))
            .more("maxDataPoints", json!(500))
    }

    /// Stacked bars over time, for series that add up.
    pub fn stacked(size: (u32, u32), title: &str, description: &str, query: &Query) -> Self {
        let custom = json!({
            "drawStyle": "bars", "lineWidth": 0, "fillOpacity": 80, "showPoints": "never", "barAlignment": 1,
            "axisSoftMin": 0, "stacking": { "mode": "normal", "group": "A" },
        });
        Self::over_time(size, title, description, query)
            .default("custom", custom)
            .more("maxDataPoints", json!(120))
    }

    /// One number, or a row of them.
    pub fn stat(size: (u32, u32), title: &str, description: &str, query: &Query) -> Self {
        Self::new("stat", size, title, description, query)
            .default("color", json!({ "mode": "thresholds" }))
            .options(json!({
                "reduceOptions": { "values": false, "calcs": ["lastNotNull"], "fields": "" },
                "graphMode": "none", "colorMode": "value", "textMode": "auto", "justifyMode": "auto",
                "orientation": "auto", "wideLayout": true,
            }))
    }

    /// The first row, named by its text.
    pub fn first(size: (u32, u32), title: &str, description: &str, query: &Query) -> Self {
        let mut panel = Self::stat(size, title, description, query);
        panel.options["reduceOptions"] =
            json!({ "values": true, "calcs": ["lastNotNull"], "fields": "", "limit": 1 });
        panel.options["textMode"] = json!("value_and_name");
        panel
    }

    /// Parts of a whole, a row each, with these labels beside them.
    pub fn pie(size: (u32, u32), title: &str, description: &str, query: &Query, labels: &[&str]) -> Self {
        Self::new("piechart", size, title, description, query).options(json!({
            "pieType": "donut", "displayLabels": labels,
            "reduceOptions": { "values": true, "calcs": ["lastNotNull"], "fields": "" },
            "legend": {
                "displayMode": "table", "placement": "right", "showLegend": true, "calcs": [],
                "values": ["value", "percent"],
            },
            "tooltip": { "mode": "single", "sort": "none" },
        }))
    }

    /// A table with these columns in this order; the plugin gives them in any.
    pub fn table(size: (u32, u32), title: &str, description: &str, query: &Query, columns: &[&str]) -> Self {
        Self::new("table", size, title, description, query)
            .default("color", json!({ "mode": "thresholds" }))
            .default(
                "custom",
                json!({ "align": "auto", "cellOptions": { "type": "auto" }, "inspect": false }),
            )
            .options(json!({ "showHeader": true, "cellHeight": "sm" }))
            .in_order(columns)
    }

    /// Puts columns in an order.
    pub fn in_order(mut self, columns: &[&str]) -> Self {
        let order: Map<String, Value> =
            columns.iter().zip(0..).map(|(column, index)| ((*column).to_owned(), json!(index))).collect();
        self.transformations.push(json!({
            "id": "organize",
            "options": { "indexByName": order, "excludeByName": {}, "includeByName": {}, "renameByName": {} },
        }));
        self
    }

    /// A further query.
    pub fn and(mut self, ref_id: &str, query: &Query) -> Self {
        self.targets.push(target(ref_id, query));
        self
    }

    pub fn unit(self, unit: &str, decimals: u32) -> Self {
        self.default("unit", json!(unit)).default("decimals", json!(decimals))
    }

    pub fn default(mut self, key: &str, value: Value) -> Self {
        self.defaults.insert(key.to_owned(), value);
        self
    }

    /// Values from `warn` on are yellow, from `bad` on red.
    pub fn thresholds(self, warn: f64, bad: f64) -> Self {
        self.default(
            "thresholds",
            json!({ "mode": "absolute", "steps": [
                { "color": "green", "value": null }, { "color": "yellow", "value": warn }, { "color": "red", "value": bad },
            ] }),
        )
    }

    /// Properties of one field.
    pub fn field(mut self, name: &str, properties: &[(&str, Value)]) -> Self {
        let properties: Vec<Value> =
            properties.iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
        self.overrides.push(json!({
            "matcher": { "id": "byName", "options": name }, "properties": properties,
        }));
        self
    }

    pub fn options(mut self, options: Value) -> Self {
        self.options = options;
        self
    }

    pub fn more(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }

    fn json(self, id: usize, (x, y): (u32, u32)) -> Value {
        let Self {
            kind,
            title,
            description,
            targets,
            defaults,
            overrides,
            options,
            transformations,
            more,
            size,
        } = self;
        let mut panel = json!({
            "id": id, "type": kind, "title": title, "description": description, "datasource": datasource(),
            "gridPos": { "x": x, "y": y, "w": size.0, "h": size.1 },
            "targets": targets, "fieldConfig": { "defaults": defaults, "overrides": overrides },
            "options": options, "transformations": transformations,
        });
        more.into_iter().for_each(|(key, value)| panel[key] = value);
        panel
    }
}

/// Panels one after the other, from left to right and down; those of a row have one height.
pub(super) fn laid_out(panels: Vec<Panel>) -> Vec<Value> {
    let (mut x, mut y, mut height) = (0, 0, 0);
    let mut placed = Vec::new();
    for (index, panel) in panels.into_iter().enumerate() {
        if x + panel.size.0 > GRID {
            (x, y) = (0, y + height);
        }
        height = panel.size.1;
        let width = panel.size.0;
        placed.push(panel.json(index + 1, (x, y)));
        x += width;
    }
    placed
}
