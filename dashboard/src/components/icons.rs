//! Icons: inline SVG on a 16 px grid, 1.5 px stroke. Their shape says what their colour says.

use leptos::prelude::*;

/// An icon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Icon {
    /// Waves under a line: the overview.
    Overview,
    /// A fork: the flow map.
    Map,
    /// Bars in a cascade: traces.
    Traces,
    /// A winding way: journeys.
    Journey,
    /// A gauge with its mark: lag and consumer groups.
    Group,
    /// A tray: dead letters.
    DeadLetter,
    /// Two sliders: settings and health.
    Health,
    /// A bell: alerts.
    Alert,
    /// A bell struck through: silence.
    Silence,
    /// A paper plane: send.
    Send,
    /// A bin: delete.
    Delete,
    /// A magnifying glass.
    Search,
    /// Two servers: a cluster.
    Cluster,
    /// A clock.
    Clock,
    /// Down.
    ChevronDown,
    /// Up.
    ChevronUp,
    /// Right.
    ChevronRight,
    /// An arrow to the right.
    ArrowRight,
    /// An arrow to the left.
    ArrowLeft,
    /// A sun: the theme.
    Theme,
    /// A question mark in a ring: help.
    Help,
    /// Plus.
    Plus,
    /// Minus.
    Minus,
    /// A cross: close.
    Close,
    /// A funnel: filter.
    Filter,
    /// A table.
    Table,
    /// Corners around a point: focus.
    Focus,
    /// Corners: fit into the window.
    Fit,
    /// An arrow into a tray: download.
    Download,
    /// Two sheets: copy.
    Copy,
    /// A chain: link.
    Link,
    /// A break in an axis.
    Break,
    /// An arrow in a circle: retry.
    Retry,
    /// A box: a release.
    Release,
    /// A ring with an i: information.
    Info,
    /// A tick.
    Tick,
    /// A service.
    Service,
    /// A service that sends no spans.
    Uninstrumented,
    /// A lying cylinder: a topic.
    Topic,
    /// An octagon with a bar: critical.
    Critical,
    /// A triangle: warning, falling behind.
    Warning,
    /// A small disc: OK.
    Ok,
    /// A disc with a tick: done, healthy.
    Done,
    /// An octagon with a dash: stopped.
    Stopped,
    /// A square with two bars: stalled.
    Stalled,
    /// A disc with a double chevron: rewound.
    Rewound,
    /// A dashed ring: unknown.
    Unknown,
    /// An octagon with a cross: data loss.
    DataLoss,
    /// A hollow ring: none.
    Ring,
}

impl Icon {
    /// Returns what stands inside the `svg` element.
    pub(crate) const fn inner(self) -> &'static str {
        match self {
            Self::Overview => {
                r#"<path d="M2 4h12"/><path d="M2 8.6c2-1.5 4-1.5 6 0s4 1.5 6 0"/><path d="M2 12.4c2-1.5 4-1.5 6 0s4 1.5 6 0"/>"#
            }
            Self::Map => {
                r#"<circle cx="3" cy="8" r="1.6"/><circle cx="13" cy="3.6" r="1.6"/><circle cx="13" cy="12.4" r="1.6"/><path d="M4.6 8c4 0 2.8-4.4 6.8-4.4M4.6 8c4 0 2.8 4.4 6.8 4.4"/>"#
            }
            Self::Traces => r#"<path d="M2 4h6M4.5 8h7M9 12h5"/>"#,
            Self::Journey => {
                r#"<circle cx="3.4" cy="3.5" r="1.5"/><circle cx="12.6" cy="12.5" r="1.5"/><path d="M4.9 3.5h5.3a2.25 2.25 0 0 1 0 4.5H5.8a2.25 2.25 0 0 0 0 4.5h5.3"/>"#
            }
            Self::Group => {
                r#"<rect x="5.2" y="1.8" width="5.6" height="12.4" rx="1.4"/><path class="f" d="M6.4 8.6h3.2v4.4H6.4z"/><path d="M2.6 5.4h10.8"/>"#
            }
            Self::DeadLetter => {
                r#"<path d="M2 9h3l1.1 2h3.8L11 9h3v4.6H2z"/><path d="M8 1.8v5M5.9 4.8 8 6.9l2.1-2.1"/>"#
            }
            Self::Health => {
                r#"<path d="M2 4.6h6.6M12 4.6h2M2 11.4h2M7.4 11.4H14"/><circle cx="10.3" cy="4.6" r="1.6"/><circle cx="5.7" cy="11.4" r="1.6"/>"#
            }
            Self::Alert => {
                r#"<path d="M4 11V7.2a4 4 0 0 1 8 0V11l1.2 1.6H2.8z"/><path d="M6.7 14.4h2.6"/>"#
            }
            Self::Silence => {
                r#"<path d="M4 11V7.2a4 4 0 0 1 6-3.4M12 7.4V11l1.2 1.6H5.4M6.7 14.4h2.6M2.4 2.4l11 11"/>"#
            }
            Self::Send => r#"<path d="M13.6 2.4 2.4 6.8l4.4 2.4 2.4 4.4z"/>"#,
            Self::Delete => r#"<path d="M3 4.4h10M6 4.4V2.8h4v1.6M4.4 4.4l.6 9h6l.6-9"/>"#,
            Self::Search => r#"<circle cx="7" cy="7" r="4.4"/><path d="m10.4 10.4 3.4 3.4"/>"#,
            Self::Cluster => {
                r#"<rect x="2.4" y="2.6" width="11.2" height="4.4" rx="1.2"/><rect x="2.4" y="9" width="11.2" height="4.4" rx="1.2"/><path d="M5 4.8v.1M5 11.2v.1"/>"#
            }
            Self::Clock => r#"<circle cx="8" cy="8" r="6"/><path d="M8 4.6V8l2.4 1.6"/>"#,
            Self::ChevronDown => r#"<path d="m4.5 6.5 3.5 3.5 3.5-3.5"/>"#,
            Self::ChevronUp => r#"<path d="m4.5 9.5 3.5-3.5 3.5 3.5"/>"#,
            Self::ChevronRight => r#"<path d="m6.5 4.5 3.5 3.5-3.5 3.5"/>"#,
            Self::ArrowRight => r#"<path d="M2.8 8h10M9.2 4.4 12.8 8l-3.6 3.6"/>"#,
            Self::ArrowLeft => r#"<path d="M13.2 8h-10M6.8 4.4 3.2 8l3.6 3.6"/>"#,
            Self::Theme => {
                r#"<circle cx="8" cy="8" r="2.8"/><path d="M8 1.6v1.6M8 12.8v1.6M1.6 8h1.6M12.8 8h1.6M3.5 3.5l1.1 1.1M11.4 11.4l1.1 1.1M12.5 3.5l-1.1 1.1M4.6 11.4l-1.1 1.1"/>"#
            }
            Self::Help => {
                r#"<circle cx="8" cy="8" r="6"/><path d="M6.3 6.3a1.8 1.8 0 1 1 2.4 1.9c-.5.2-.7.5-.7 1.1"/><path d="M8 11.4v.1"/>"#
            }
            Self::Plus => r#"<path d="M8 3v10M3 8h10"/>"#,
            Self::Minus => r#"<path d="M3 8h10"/>"#,
            Self::Close => r#"<path d="m4.5 4.5 7 7M11.5 4.5l-7 7"/>"#,
            Self::Filter => r#"<path d="M2.5 4h11M4.5 8h7M6.5 12h3"/>"#,
            Self::Table => {
                r#"<rect x="2.2" y="2.8" width="11.6" height="10.4" rx="1.4"/><path d="M2.2 6.4h11.6M6.6 6.4v6.8"/>"#
            }
            Self::Focus => {
                r#"<circle cx="8" cy="8" r="2"/><path d="M2.4 5.4v-3h3M13.6 5.4v-3h-3M2.4 10.6v3h3M13.6 10.6v3h-3"/>"#
            }
            Self::Fit => r#"<path d="M2.6 6V2.6H6M13.4 6V2.6H10M2.6 10v3.4H6M13.4 10v3.4H10"/>"#,
            Self::Download => r#"<path d="M8 2.4v7.4M4.8 6.8 8 10l3.2-3.2M2.8 13.4h10.4"/>"#,
            Self::Copy => {
                r#"<rect x="5.4" y="5.4" width="8" height="8" rx="1.4"/><path d="M10.6 5.2V3.4a1 1 0 0 0-1-1H3.4a1 1 0 0 0-1 1v6.2a1 1 0 0 0 1 1h1.8"/>"#
            }
            Self::Link => {
                r#"<path d="M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.2-2.2A2.6 2.6 0 0 0 9 3.3l-.9.9"/><path d="M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.3 9A2.6 2.6 0 0 0 7 12.7l.9-.9"/>"#
            }
            Self::Break => r#"<path d="M2 8h2.6M11.4 8H14M6.2 4.4 5 11.6M10.4 4.4 9.2 11.6"/>"#,
            Self::Retry => r#"<path d="M3 8a5 5 0 1 0 1.6-3.7M3 2.4v2.8h2.8"/>"#,
            Self::Release => {
                r#"<path d="m8 2.2 5 2.8v6L8 13.8 3 11V5z"/><path d="M3.2 5 8 7.8 12.8 5M8 7.8v5.8"/>"#
            }
            Self::Info => r#"<circle cx="8" cy="8" r="6"/><path d="M8 7.4v3.8M8 4.9v.1"/>"#,
            Self::Tick => r#"<path d="m3.5 8.5 3 3 6-7"/>"#,
            Self::Service => r#"<rect x="2.4" y="3.4" width="11.2" height="9.2" rx="2.2"/>"#,
            Self::Uninstrumented => {
                r#"<rect x="2.4" y="3.4" width="11.2" height="9.2" rx="2.2" stroke-dasharray="2.4 2"/>"#
            }
            Self::Topic => {
                r#"<path d="M4.6 4h6.8c1.2 0 2.2 1.8 2.2 4s-1 4-2.2 4H4.6c-1.2 0-2.2-1.8-2.2-4s1-4 2.2-4z"/><path d="M11.4 4c-1.2 0-2.2 1.8-2.2 4s1 4 2.2 4"/>"#
            }
            Self::Critical => {
                r#"<path class="f" d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z"/><path class="k" d="M8 4.8v3.8M8 11.1v.1" stroke-width="1.8"/>"#
            }
            Self::Warning => {
                r#"<path class="f" d="M8 1.8 15 14H1z"/><path class="k" d="M8 6.2v3.4M8 11.8v.1" stroke-width="1.7"/>"#
            }
            Self::Ok => r#"<circle class="f" cx="8" cy="8" r="3.6"/>"#,
            Self::Done => {
                r#"<circle class="f" cx="8" cy="8" r="6.4"/><path class="k" d="m5.2 8.2 2 2 3.6-4"/>"#
            }
            Self::Stopped => {
                r#"<path class="f" d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z"/><path class="k" d="M5 8h6" stroke-width="1.9"/>"#
            }
            Self::Stalled => {
                r#"<rect class="f" x="1.8" y="1.8" width="12.4" height="12.4" rx="3"/><path class="k" d="M6.2 5v6M9.8 5v6" stroke-width="1.8"/>"#
            }
            Self::Rewound => {
                r#"<circle class="f" cx="8" cy="8" r="6.6"/><path class="k" d="M7.8 5.2 5 8l2.8 2.8M11 5.2 8.2 8l2.8 2.8"/>"#
            }
            Self::Unknown => {
                r#"<circle cx="8" cy="8" r="6" stroke-dasharray="2.4 2"/><path d="M6.5 6.6a1.6 1.6 0 1 1 2.1 1.6c-.5.2-.6.4-.6.9M8 11v.1" stroke-width="1.3"/>"#
            }
            Self::DataLoss => {
                r#"<path class="f" d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z"/><path class="k" d="m5.8 5.8 4.4 4.4M10.2 5.8l-4.4 4.4" stroke-width="1.8"/>"#
            }
            Self::Ring => r#"<circle cx="8" cy="8" r="3.4"/>"#,
        }
    }

    /// Draws the icon; `class` adds size and colour classes (`i-s`, `i-xs`, `c-crit`, `t3`).
    pub(crate) fn draw(self, class: &str) -> impl IntoView + use<> {
        view! { <svg class=format!("i {class}") viewBox="0 0 16 16" aria-hidden="true" inner_html=self.inner()></svg> }
    }
}
