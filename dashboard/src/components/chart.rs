//! Charts over time, drawn for their real width, and the steps of a heat map.

use highwater_shared::Instant;
use leptos::html::Div;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::wasm_bindgen::closure::Closure;
use web_sys::ResizeObserver;

use crate::format::{clock, clock_short, count, duration_ns, time_lag};
use crate::state::clock;
use crate::state::query::Query;
use crate::state::zone;

/// What a chart's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    /// Milliseconds.
    Millis,
    /// Nanoseconds.
    Nanos,
    /// Messages, records.
    Count,
}

impl Unit {
    /// Writes a number with its unit.
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Millis => time_lag(value.max(0.0) as u64),
            Self::Nanos => duration_ns(value.max(0.0) as u64),
            Self::Count => count(value.max(0.0) as u64),
        }
    }

    /// Returns 3 to 5 round values from 0 to at least `top`.
    fn ticks(self, top: f64) -> Vec<f64> {
        // Time is round at other numbers than counts are.
        const SECONDS: [f64; 20] = [
            1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
            7_200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
        ];
        let second = match self {
            Self::Millis => 1_000.0,
            Self::Nanos => 1e9,
            Self::Count => 0.0,
        };
        let top = top.max(match self {
            Self::Millis => 1_000.0,
            Self::Nanos => 1_000.0,
            Self::Count => 4.0,
        });
        let rough = top / 4.0;
        let step = SECONDS
            .iter()
            .map(|s| s * second)
            .find(|&s| second > 0.0 && rough >= second * 0.8 && s >= rough)
            .unwrap_or_else(|| {
                let power = 10_f64.powf(rough.log10().floor());
                [1.0, 2.0, 2.5, 5.0, 10.0]
                    .into_iter()
                    .map(|m| m * power)
                    // A count has no halves.
                    .find(|&s| s >= rough * 0.999 && (self != Self::Count || s.fract() == 0.0))
                    .unwrap_or(10.0 * power)
            });
        let steps = (top / step).ceil().max(1.0) as usize;
        (0..=steps).map(|i| i as f64 * step).collect()
    }
}

/// A line of a chart.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Series {
    /// What it is; in the hover line and for screen readers.
    pub(crate) name: String,
    /// `l1`, `l2` (dashed), `l3`, `lc` (critical), `lw` (warning).
    pub(crate) class: &'static str,
    /// The area under it is tinted.
    pub(crate) filled: bool,
    /// Time in milliseconds since the epoch, and the value; `None` where not read.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// Something that happened: a dashed line, with a word where there is room.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Flag {
    /// When, in milliseconds since the epoch.
    pub(crate) at: f64,
    /// In a word or two, beside the line.
    pub(crate) word: String,
    /// In full, under the pointer.
    pub(crate) text: String,
}

/// On which side of its line a flag's word is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Left,
    Right,
}

/// Returns the flags with the side that has room for their word: before the next flag or the edge, else behind what was
/// written last.
fn with_room(
    flags: &[Flag],
    x: impl Fn(f64) -> f64,
    (left, right): (f64, f64),
) -> Vec<(&Flag, Option<Side>)> {
    let mut free = left;
    flags
        .iter()
        .enumerate()
        .map(|(index, flag)| {
            let at = x(flag.at);
            let wide = 4.0 + flag.word.chars().count() as f64 * GLYPH;
            let next = flags.get(index + 1).map_or(right, |next| x(next.at));
            let side = if at + wide <= next.min(right) {
                Some(Side::Right)
            } else if at - wide >= free {
                Some(Side::Left)
            } else {
                None
            };
            free = match side {
                Some(Side::Right) => at + wide,
                _ => at,
            };
            (flag, side)
        })
        .collect()
}

/// The moment under the pointer, shown on all charts of the page at once.
#[derive(Clone, Copy)]
pub(crate) struct Hover(RwSignal<Option<f64>>);

impl Hover {
    /// Makes it known to the charts below.
    pub(crate) fn provide() {
        provide_context(Self(RwSignal::new(None)));
    }
}

/// Returns the width of an element in px, followed as it changes; 0 until it is drawn.
pub(crate) fn width_of(node: NodeRef<Div>) -> RwSignal<f64> {
    let width = RwSignal::new(0.0);
    let kept = StoredValue::new_local(None::<(ResizeObserver, Closure<dyn FnMut(js_sys::Array)>)>);
    Effect::new(move || {
        let Some(element) = node.get() else { return };
        width.set(f64::from(element.client_width()));
        let callback = Closure::<dyn FnMut(js_sys::Array)>::new(move |entries: js_sys::Array| {
            if let Ok(entry) = entries.get(0).dyn_into::<web_sys::ResizeObserverEntry>() {
                let now = entry.content_rect().width();
                if width
                    .try_get_untracked()
                    .is_some_and(|w| (w - now).abs() > 0.5)
                {
                    width.try_set(now);
                }
            }
        });
        if let Ok(observer) = ResizeObserver::new(callback.as_ref().unchecked_ref()) {
            observer.observe(&element);
            kept.set_value(Some((observer, callback)));
        }
    });
    on_cleanup(move || {
        kept.try_update_value(|kept| {
            if let Some((observer, _)) = kept.take() {
                observer.disconnect();
            }
        });
    });
    width
}

/// Room for the y ticks.
const LEFT: f64 = 46.0;
/// Room under the plot for the x ticks.
const BOTTOM: f64 = 18.0;
/// Width of a figure of the axes, in px: a label at the right edge is moved in by what it needs.
const GLYPH: f64 = 6.0;
/// Room above the plot.
const TOP: f64 = 8.0;

/// Returns round clock times between `from` and `to` (milliseconds), about `wanted` of them. `ahead`: of a clock that is so many milliseconds ahead of UTC.
fn time_ticks(from: f64, to: f64, wanted: usize, ahead: f64) -> Vec<f64> {
    const STEPS_S: [f64; 17] = [
        1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
        10_800.0, 21_600.0, 43_200.0, 86_400.0, 604_800.0,
    ];
    if to <= from {
        return Vec::new();
    }
    let rough = (to - from) / wanted.max(1) as f64;
    let step = STEPS_S
        .iter()
        .map(|s| s * 1_000.0)
        .find(|s| *s >= rough)
        .unwrap_or(604_800_000.0);
    let first = ((from + ahead) / step).ceil() * step - ahead;
    let count = (((to - first) / step).floor().max(-1.0) + 1.0) as usize;
    (0..count.min(50))
        .map(|i| first + i as f64 * step)
        .collect()
}

/// Draws runs of known points as one path; a gap is not joined.
fn line_path(
    points: &[(f64, Option<f64>)],
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) -> String {
    let mut path = String::new();
    let mut joined = false;
    for (i, &(at, value)) in points.iter().enumerate() {
        let Some(value) = value else {
            joined = false;
            continue;
        };
        path.push_str(&format!(
            "{}{:.1} {:.1}",
            if joined { 'L' } else { 'M' },
            x(at),
            y(value)
        ));
        // One point alone would draw nothing.
        if !joined && points.get(i + 1).is_none_or(|p| p.1.is_none()) {
            path.push_str("h2");
        }
        joined = true;
    }
    path
}

/// Draws areas between the points and `base`, run by run.
fn area_path(
    points: &[(f64, Option<f64>)],
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
    base: f64,
) -> String {
    let mut path = String::new();
    for run in points.split(|p| p.1.is_none()) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        path.push_str(&format!("M{:.1} {base:.1}", x(first.0)));
        for &(at, value) in run {
            path.push_str(&format!(
                "L{:.1} {:.1}",
                x(at),
                y(value.unwrap_or_default())
            ));
        }
        path.push_str(&format!("L{:.1} {base:.1}Z", x(last.0)));
    }
    path
}

/// Returns the stretches where `points` are not known, as pairs of times.
fn gaps(points: &[(f64, Option<f64>)]) -> Vec<(f64, f64)> {
    let step = match points {
        [first, .., last] => (last.0 - first.0) / (points.len() - 1) as f64,
        _ => return Vec::new(),
    };
    let mut out: Vec<(f64, f64)> = Vec::new();
    for &(at, value) in points {
        if value.is_some() {
            continue;
        }
        match out.last_mut() {
            Some(gap) if at - gap.1 < step * 0.5 => gap.1 = at + step,
            _ => out.push((at, at + step)),
        }
    }
    out
}

/// A chart of lines over time. y starts at 0; the mark is a solid line with its label at the left, and what is above it is filled; gaps are hatched.
///
/// Dragging over it sets the page's range. Hover shows a hairline on all charts below the same [`Hover`].
#[component]
pub(crate) fn LineChart(
    /// Lines; at most 4.
    #[prop(into)]
    series: Signal<Vec<Series>>,
    /// The range, in milliseconds since the epoch.
    #[prop(into)]
    range: Signal<(f64, f64)>,
    /// What the numbers are.
    unit: Unit,
    /// The mark, in the unit of the numbers.
    #[prop(into, optional)]
    mark: Signal<Option<f64>>,
    /// Stretches to shade, as pairs of times: when it fired.
    #[prop(into, optional)]
    shades: Signal<Vec<(f64, f64)>>,
    /// What happened, oldest first.
    #[prop(into, optional)]
    flags: Signal<Vec<Flag>>,
    /// Their words are written too; not on each of several charts that stand one above the other.
    #[prop(optional)]
    worded: bool,
    /// Height in px.
    #[prop(default = 180.0)]
    height: f64,
    /// A sentence that says what is to be seen.
    #[prop(into)]
    label: Signal<String>,
) -> impl IntoView {
    let query = Query::get_context();
    let node = NodeRef::<Div>::new();
    let width = width_of(node);
    let hover = use_context::<Hover>().unwrap_or(Hover(RwSignal::new(None)));
    let drag = RwSignal::new(None::<(f64, f64)>);
    let base = height - BOTTOM;
    // A pattern is found by its id, which must be the page's only one.
    let hatch = format!(
        "gap-{}",
        crate::state::clock::browser_ms() as u64 % 1_000_000 + next_id()
    );
    let hatch_fill = format!("url(#{hatch})");
    let time_at = move |client_x: i32| {
        let left = node
            .get_untracked()
            .map_or(0.0, |n| n.get_bounding_client_rect().left());
        let (from, to) = range.get_untracked();
        let plot = (width.get_untracked() - LEFT).max(1.0);
        from + ((f64::from(client_x) - left - LEFT) / plot).clamp(0.0, 1.0) * (to - from)
    };
    let drawn = move || {
        let width = width.get();
        if width < LEFT + 20.0 {
            return None;
        }
        let (from, to) = range.get();
        let series = series.get();
        let mark = mark.get();
        let highest = series
            .iter()
            .flat_map(|s| s.points.iter().filter_map(|p| p.1))
            .fold(0.0_f64, f64::max);
        // The scale is that of the mark, not of the noise below it.
        let ticks = unit.ticks(highest.max(mark.unwrap_or_default() * 1.1));
        let top = ticks.last().copied().unwrap_or(1.0);
        let x = move |at: f64| LEFT + (at - from) / (to - from).max(1.0) * (width - LEFT);
        let y = move |v: f64| base - v / top * (base - TOP);
        let now = clock::now();
        let ahead = zone::offset(Instant((to * 1e6) as u64)) as f64 / 1e6;
        let hatch_fill = hatch_fill.clone();
        Some(view! {
            {ticks.into_iter().map(|v| view! {
                <line class=if v == 0.0 { "base" } else { "grid" } x1=LEFT x2=width y1=y(v).round() y2=y(v).round()></line>
                <text x=LEFT - 6.0 y=y(v) + 3.0 text-anchor="end">{unit.write(v)}</text>
            }).collect_view()}
            {time_ticks(from, to, (width / 90.0) as usize, ahead).into_iter().map(|at| {
                let text = clock_short(Instant((at * 1e6) as u64), now);
                let half = text.chars().count() as f64 * GLYPH / 2.0;
                view! { <text x=x(at).min(width - half) y=height - 4.0 text-anchor="middle">{text}</text> }
            }).collect_view()}
            {series.first().map(|s| gaps(&s.points).into_iter().map(|(a, b)| view! {
                <rect x=x(a.max(from)) y=TOP width=(x(b.min(to)) - x(a.max(from))).max(0.0) height=base - TOP fill=hatch_fill.clone() opacity="0.5"></rect>
            }).collect_view())}
            {shades.get().into_iter().map(|(a, b)| {
                let (a, b) = (x(a.clamp(from, to)), x(b.clamp(from, to)));
                // The shortest can still be seen.
                view! { <rect class="shade" x=a y=TOP width=(b - a).max(2.0) height=base - TOP></rect> }
            }).collect_view()}
            {series.iter().map(|s| view! {
                {s.filled.then(|| view! { <path class="a1" d=area_path(&s.points, x, y, base)></path> })}
                {mark.map(|m| {
                    let above: Vec<_> = s.points.iter().map(|&(at, v)| (at, v.map(|v| v.max(m)))).collect();
                    view! { <path class="ac" d=area_path(&above, x, y, y(m))></path> }
                })}
                <path class=s.class d=line_path(&s.points, x, y)><title>{s.name.clone()}</title></path>
            }).collect_view()}
            {flags.with(|flags| with_room(flags, x, (LEFT, width)).into_iter()
                .filter(|(flag, _)| (from..=to).contains(&flag.at))
                .map(|(flag, side)| view! {
                    <g class="flag"><title>{flag.text.clone()}</title>
                        <line class="ev" x1=x(flag.at) x2=x(flag.at) y1=TOP - 6.0 y2=base></line>
                        // A line of one pixel is hard to point at.
                        <rect x=x(flag.at) - 4.0 y=0.0 width="8" height=base fill="transparent"></rect>
                        {side.filter(|_| worded).map(|side| {
                            let (away, anchor) = match side {
                                Side::Left => (-4.0, "end"),
                                Side::Right => (4.0, "start"),
                            };
                            view! { <text class="evt" x=x(flag.at) + away y=TOP + 3.0 text-anchor=anchor>{flag.word.clone()}</text> }
                        })}
                    </g>
                }).collect_view())}
            {mark.map(|m| view! {
                <line class="mark" x1=LEFT x2=width y1=y(m).round() y2=y(m).round()></line>
                <text class="markt" x=LEFT + 4.0 y=y(m) - 4.0>{format!("mark {}", unit.write(m))}</text>
            })}
        })
    };
    let hairline = move || {
        let at = hover.0.get()?;
        let width = width.get();
        let (from, to) = range.get();
        let x = LEFT + (at - from) / (to - from).max(1.0) * (width - LEFT);
        if !(LEFT..=width).contains(&x) {
            return None;
        }
        let values = series.with(|series| {
            series
                .iter()
                .map(|s| {
                    let nearest = s
                        .points
                        .iter()
                        .min_by(|a, b| (a.0 - at).abs().total_cmp(&(b.0 - at).abs()))
                        .and_then(|p| p.1);
                    let value = nearest
                        .map_or_else(|| crate::format::UNKNOWN.to_owned(), |v| unit.write(v));
                    format!("{} {value}", s.name)
                })
                .collect::<Vec<_>>()
                .join(", ")
        });
        let text = format!(
            "{}  {values}",
            clock(Instant((at * 1e6) as u64), clock::now())
        );
        let (anchor, tx) = if x > width / 2.0 {
            ("end", x - 5.0)
        } else {
            ("start", x + 5.0)
        };
        Some(view! {
            <line class="hair" x1=x x2=x y1=TOP y2=base></line>
            <text class="hairt" x=tx y=TOP + 6.0 text-anchor=anchor>{text}</text>
        })
    };
    view! {
        <div class="chart" node_ref=node
            on:pointermove=move |ev| {
                hover.0.set(Some(time_at(ev.client_x())));
                if drag.get_untracked().is_some() {
                    drag.update(|d| if let Some(d) = d { d.1 = time_at(ev.client_x()); });
                }
            }
            on:pointerleave=move |_| { hover.0.set(None); drag.set(None); }
            on:pointerdown=move |ev| { let at = time_at(ev.client_x()); drag.set(Some((at, at))); }
            on:pointerup=move |_| {
                let Some((a, b)) = drag.get_untracked() else { return };
                drag.set(None);
                let (from, to) = range.get_untracked();
                if (a - b).abs() > (to - from) / 50.0 {
                    let text = |ms: f64| Instant((ms * 1e6) as u64).to_string();
                    query.change(&[("from", Some(&text(a.min(b)))), ("to", Some(&text(a.max(b)))), ("live", None)], false);
                }
            }>
            <svg class="ch" width=width height=height role="img" aria-label=label>
                <defs>
                    <pattern id=hatch width="5" height="5" patternUnits="userSpaceOnUse"><path d="M0 5L5 0" stroke="var(--unk-line)"></path></pattern>
                </defs>
                {drawn}
                {move || drag.get().filter(|d| d.0 != d.1).map(|(a, b)| {
                    let (from, to) = range.get();
                    let x = |at: f64| LEFT + (at - from) / (to - from).max(1.0) * (width.get() - LEFT);
                    view! { <rect class="brush" x=x(a.min(b)) y=TOP width=x(a.max(b)) - x(a.min(b)) height=base - TOP></rect> }
                })}
                {hairline}
            </svg>
        </div>
    }
}

/// Returns a number nobody else on the page has.
fn next_id() -> u64 {
    use std::cell::Cell;
    thread_local! { static NEXT: Cell<u64> = const { Cell::new(0) }; }
    NEXT.with(|next| {
        next.set(next.get() + 1_000_000);
        next.get()
    })
}

/// Returns the class of a heat map's cell: 5 cool steps below the mark, 2 warm above, hatched when not read.
pub(crate) fn heat_class(lag_ms: Option<u64>, mark_ms: u64) -> &'static str {
    let Some(lag) = lag_ms else { return "hx" };
    let ratio = lag as f64 / mark_ms.max(1) as f64;
    match ratio {
        r if r < 0.02 => "h0",
        r if r < 0.25 => "h1",
        r if r < 0.5 => "h2",
        r if r < 0.75 => "h3c",
        r if r <= 1.0 => "h4",
        r if r <= 3.0 => "h5",
        _ => "h6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flags_word_reaches_neither_the_next_flag_nor_what_is_written_nor_the_edge() {
        let flag = |at| Flag {
            at,
            word: "fired".to_owned(),
            text: String::new(),
        };
        let flags = [
            flag(10.0),
            flag(30.0),
            flag(100.0),
            flag(120.0),
            flag(195.0),
        ];
        let sides: Vec<_> = with_room(&flags, |at| at, (0.0, 200.0))
            .into_iter()
            .map(|(_, side)| side)
            .collect();
        let (left, right) = (Some(Side::Left), Some(Side::Right));
        assert_eq!(sides, [None, right, left, right, left]);
    }

    #[test]
    fn ticks_are_round_and_three_to_six() {
        assert_eq!(Unit::Count.ticks(4.0), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            Unit::Millis.ticks(200_000.0),
            [0.0, 60_000.0, 120_000.0, 180_000.0, 240_000.0]
        );
        for unit in [Unit::Count, Unit::Millis, Unit::Nanos] {
            for top in [0.0, 0.3, 7.0, 999.0, 12_345.0, 4.2e6, 8.8e9, 3.1e12, 9e17] {
                let ticks = unit.ticks(top);
                assert!((2..=6).contains(&ticks.len()), "{unit:?} {top} {ticks:?}");
                assert!(
                    ticks.last().is_some_and(|t| *t >= top),
                    "{unit:?} {top} {ticks:?}"
                );
            }
        }
    }

    #[test]
    fn time_ticks_fall_on_round_clock_times() {
        let ticks = time_ticks(3_600_000.0 * 10.0 + 12_345.0, 3_600_000.0 * 11.0, 6, 0.0);
        assert_eq!(ticks.len(), 6);
        assert!(ticks.iter().all(|t| t % 600_000.0 == 0.0));
        assert!(time_ticks(5.0, 5.0, 6, 0.0).is_empty());
        // Midnight where clocks are half an hour ahead.
        let hour = 3_600_000.0;
        assert_eq!(time_ticks(0.0, 24.0 * hour, 1, 0.5 * hour), [23.5 * hour]);
    }

    #[test]
    fn a_gap_is_left_open_and_hatched() {
        let points = [
            (0.0, Some(1.0)),
            (1.0, None),
            (2.0, None),
            (3.0, Some(2.0)),
            (4.0, Some(3.0)),
        ];
        assert_eq!(
            line_path(&points, |x| x, |y| y),
            "M0.0 1.0h2M3.0 2.0L4.0 3.0"
        );
        assert_eq!(gaps(&points), [(1.0, 3.0)]);
    }

    #[test]
    fn heat_is_warm_only_above_the_mark() {
        assert_eq!(heat_class(None, 60_000), "hx");
        assert_eq!(heat_class(Some(0), 60_000), "h0");
        assert_eq!(heat_class(Some(60_000), 60_000), "h4");
        assert_eq!(heat_class(Some(60_001), 60_000), "h5");
        assert_eq!(heat_class(Some(600_000), 60_000), "h6");
    }
}
