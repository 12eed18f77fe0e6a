//! Where is it watched?

use serde_json::json;

use super::panel::{Panel, laid_out};
use super::{Dashboard, Head, whole};
use crate::queries::{Scope, by_country, cities};

pub(super) fn dashboard() -> Dashboard {
    let head = Head {
        uid: "streampulse-geography",
        title: "Geography",
        description: "Accesses by country and city",
        from: "now-24h",
        narrows: true,
    };
    let gauge = json!({ "type": "gauge", "mode": "basic", "valueDisplayMode": "text" });
    let bars = [("custom.cellOptions", gauge), ("color", json!({ "mode": "continuous-BlPu" }))];
    let narrow = json!([{
        "title": "What is watched in ${__data.fields.country}",
        "url": "/d/streampulse-audience?var-f_country=${__data.fields.country}&${__url_time_range}",
    }]);
    let layer = json!({
        "type": "markers", "name": "Accesses",
        "location": { "mode": "lookup", "lookup": "country", "gazetteer": "public/gazetteer/countries.json" },
        "config": { "showLegend": true, "style": {
            "size": { "field": "accesses", "fixed": 5, "min": 4, "max": 30 },
            "color": { "field": "accesses", "fixed": "dark-blue" },
            "symbol": { "mode": "fixed", "fixed": "img/icons/marker/circle.svg" }, "opacity": 0.6,
        } },
        "tooltip": true,
    });
    let panels = vec![
        Panel::new(
            "geomap",
            (24, 14),
            "Accesses by country",
            "The size of a mark is its accesses",
            &by_country(Scope::Asked),
        )
        .default("color", json!({ "mode": "continuous-BlPu" }))
        .options(json!({
            "view": { "id": "zero", "lat": 20, "lon": 0, "zoom": 2, "allLayers": true },
            "basemap": { "type": "default", "name": "Map" }, "layers": [layer],
            "controls": { "showZoom": true, "mouseWheelZoom": false, "showAttribution": true },
            "tooltip": { "mode": "details" },
        })),
        Panel::table(
            (10, 12),
            "Countries",
            "Most accesses first; a click shows what is watched there",
            &by_country(Scope::Asked),
            &["country", "accesses"],
        )
        .field("accesses", &bars)
        .field("country", &[("links", narrow.clone())]),
        Panel::table(
            (14, 12),
            "Busiest cities",
            "Most accesses first",
            &cities(),
            &["city", "country", "accesses"],
        )
        .field("accesses", &bars)
        .field("country", &[("links", narrow), ("custom.width", json!(90))]),
    ];
    ("geography", whole(&head, laid_out(panels)))
}
