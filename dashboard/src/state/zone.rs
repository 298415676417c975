//! The zone that clocks are written in: UTC, the browser's, or one by its name.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use highwater_shared::Instant;
use js_sys::{Date, Function, Object, Reflect};
use leptos::wasm_bindgen::{JsCast, JsValue};

/// A zone's clock moves by whole quarters of an hour and at such, everywhere on Earth.
const QUARTER_NS: u64 = 900_000_000_000;
/// A moment that every zone writes as one after 1970.
const SOME_DAY: Instant = Instant(1_000_000_000_000_000_000);
/// Offsets remembered.
const REMEMBERED: usize = 10_000;

/// A zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// The browser's.
    Local,
    /// By its IANA name: `Europe/Berlin`.
    Named(String),
}

thread_local! {
    static ZONE: RefCell<Zone> = const { RefCell::new(Zone::Utc) };
    /// Whether the zone is UTC, so that the usual case asks nothing.
    static UTC: Cell<bool> = const { Cell::new(true) };
    /// Nanoseconds ahead of UTC, by quarter of an hour.
    static OFFSETS: RefCell<HashMap<u64, i64>> = RefCell::default();
}

impl Zone {
    /// Reads `utc`, `local` or a name that the browser knows; anything else is UTC.
    pub(crate) fn read(text: &str) -> Self {
        match text {
            "" | "utc" | "UTC" => Self::Utc,
            "local" => Self::Local,
            name if written_in(name, SOME_DAY).is_some() => Self::Named(name.to_owned()),
            _ => Self::Utc,
        }
    }

    /// How a person reads it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Utc => "UTC".to_owned(),
            Self::Local => "local time".to_owned(),
            Self::Named(name) => name.clone(),
        }
    }

    /// Nanoseconds that its clocks are ahead of UTC.
    fn offset(&self, at: Instant) -> i64 {
        let millis = at.as_millis() as f64;
        match self {
            Self::Utc => 0,
            Self::Local => {
                // The browser counts backwards: minutes from local time to UTC.
                let minutes = Date::new(&JsValue::from_f64(millis)).get_timezone_offset();
                -(minutes * 60e9) as i64
            }
            Self::Named(name) => written_in(name, at).map_or(0, |written| {
                let seconds = (at.0 / 1_000_000_000) as i64;
                ((written.0 / 1_000_000_000) as i64 - seconds) * 1_000_000_000
            }),
        }
    }
}

/// What a clock of the zone shows at a moment, as if it were UTC; `None` where the browser does not know the zone.
fn written_in(zone: &str, at: Instant) -> Option<Instant> {
    let date = Date::new(&JsValue::from_f64(at.as_millis() as f64));
    let options = Object::new();
    Reflect::set(&options, &"timeZone".into(), &zone.into()).ok()?;
    // Swedes write 2026-03-17 03:12:40. Called by its name, for an unknown zone throws.
    let write = Reflect::get(&date, &"toLocaleString".into()).ok()?;
    let write: Function = write.dyn_into().ok()?;
    let written = write.call2(&date, &"sv-SE".into(), &options).ok()?;
    Instant::parse(&format!("{}Z", written.as_string()?))
}

/// Writes all clocks in a zone from now on. What is on the page already must be drawn again.
pub(crate) fn set(zone: Zone) {
    UTC.with(|utc| utc.set(zone == Zone::Utc));
    OFFSETS.with_borrow_mut(HashMap::clear);
    ZONE.set(zone);
}

/// Returns the zone that clocks are written in.
pub(crate) fn current() -> Zone {
    ZONE.with_borrow(Clone::clone)
}

/// Returns how far the zone's clocks are ahead of UTC at a moment, in nanoseconds.
pub(crate) fn offset(at: Instant) -> i64 {
    if UTC.with(Cell::get) {
        return 0;
    }
    let quarter = at.0 / QUARTER_NS;
    if let Some(known) = OFFSETS.with_borrow(|known| known.get(&quarter).copied()) {
        return known;
    }
    let offset = current().offset(at);
    OFFSETS.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(quarter, offset);
    });
    offset
}

/// Returns what a clock of the zone shows at a moment, as if it were UTC.
pub(crate) fn shown(at: Instant) -> Instant {
    Instant(at.0.saturating_add_signed(offset(at)))
}

/// Returns when a clock of the zone shows `shown`. Of the two times that an hour put back shows, the later.
pub(crate) fn at(shown: Instant) -> Instant {
    let near = Instant(shown.0.saturating_add_signed(-offset(shown)));
    Instant(shown.0.saturating_add_signed(-offset(near)))
}
