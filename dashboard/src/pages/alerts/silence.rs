//! The form of a new silence.

use highwater_shared::Instant;
use highwater_shared::alerts::{Matchers, Silence, SilenceRequest};
use leptos::prelude::*;

use super::{Desk, acts, words};
use crate::components::icons::Icon;
use crate::components::surface::{Note, Panel, Tone};
use crate::format::{clock_short, plural};
use crate::state::clock::{Second, now};
use crate::state::zone;

const HOUR: u64 = 3_600_000_000_000;
/// Characters of a comment.
const COMMENT_AT_MOST: usize = 400;

/// How long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Hours(u64),
    Morning,
    Custom,
}

/// The panel, for `new`, for a group, or for an alert by its id.
#[component]
pub(super) fn SilencePanel(
    /// `new`, a group as the address names it, or an alert's id.
    of: String,
) -> impl IntoView {
    let desk = Desk::get_context();
    let second = Second::get_context();
    let of_group = words::group_of_silence(&of);
    // From a link the alerts may not be there yet: filled in once, when they are.
    let filled = StoredValue::new(of == "new" || of_group.is_some());
    let matchers = RwSignal::new(of_group.unwrap_or_default());
    let missing = RwSignal::new(false);
    Effect::new(move || {
        if filled.get_value() {
            return;
        }
        let found = desk.alerts.data.with(|alerts| {
            let alerts = alerts.as_ref()?;
            let alert = alerts.alerts.iter().find(|a| a.id == of);
            Some(alert.map(words::matchers_of))
        });
        if let Some(found) = found {
            filled.set_value(true);
            missing.set(found.is_none());
            matchers.set(found.unwrap_or_default());
        }
    });
    let length = RwSignal::new(Length::Hours(1));
    let custom = RwSignal::new(words::field(Instant(now().0 + 24 * HOUR)));
    let author = RwSignal::new(desk.who.name_now());
    let comment = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let refused = RwSignal::new(None::<String>);

    let ends = Memo::new(move |_| {
        let now = second.now();
        match length.get() {
            Length::Hours(hours) => Some(Instant(now.0 + hours * HOUR)),
            Length::Morning => Some(words::next_morning(now)),
            Length::Custom => custom.with(|c| words::from_field(c)),
        }
    });
    let covered = Memo::new(move |_| {
        desk.alerts.data.with(|alerts| {
            let alerts = alerts.as_ref()?;
            matchers.with(|m| words::covered(m, &alerts.alerts))
        })
    });
    let everything = Memo::new(move |_| matchers.with(|m| words::matchers(m).is_empty()));
    let until = move || {
        let now = second.now();
        match ends.get() {
            None => "Say when it ends.".to_owned(),
            Some(at) if at <= now => "That is in the past.".to_owned(),
            Some(at) => format!("Until {} {}.", clock_short(at, now), zone::current().name()),
        }
    };
    let quiet = move || match covered.get() {
        None => String::new(),
        Some(0) => "It covers nothing that fires or is pending now.".to_owned(),
        Some(n) => format!(
            "It covers {} now, pending ones too.",
            plural(n, "alert", "alerts")
        ),
    };
    let save = move |_| {
        let Some(ends) = ends.get_untracked() else {
            refused.set(Some("Say when it ends.".to_owned()));
            return;
        };
        let by = author.get_untracked().trim().to_owned();
        if by.is_empty() {
            refused.set(Some("Say who silences: a name is needed.".to_owned()));
            return;
        }
        desk.who.call_me(&by);
        busy.set(true);
        refused.set(None);
        let request = SilenceRequest {
            matchers: matchers.get_untracked(),
            starts: None,
            ends,
            author: by,
            comment: comment.get_untracked().trim().to_owned(),
        };
        let url = "/api/v1/silences".to_owned();
        acts::act::<Silence>(desk, url, request, "", move |answer| {
            busy.try_set(false);
            match answer {
                Ok(silence) => {
                    let until = clock_short(silence.ends, now());
                    desk.toasts.done(format!("Silenced until {until}"));
                    desk.open_silence(None);
                }
                Err(error) => {
                    refused.try_set(Some(error.sentence()));
                }
            }
        });
    };
    let chosen = move |this: Length| move || (length.get() == this).to_string();
    let choose = move |this: Length| move |_| length.set(this);
    view! {
        <Panel label="New silence" kind="Silence" title=ViewFn::from(|| "New silence")
            on_close=Callback::new(move |()| desk.open_silence(None))
            foot=ViewFn::from(move || view! {
                <button class="btn primary" data-testid="save-silence" disabled=busy on:click=save>{Icon::Silence.draw("")}"Silence"</button>
                <button class="btn ghost" on:click=move |_| desk.open_silence(None)>"Cancel"</button>
            })>
            {move || refused.get().map(|why| view! { <section><div role="alert"><Note tone=Tone::Critical><b>"Not silenced. "</b>{why}</Note></div></section> })}
            {move || missing.get().then(|| view! { <section><Note tone=Tone::Warning>"The alert of this link is no longer known. Say what to silence."</Note></section> })}
            <section>
                <h3 class="h3">"What is not told"</h3>
                <div class="matchers">
                    {matcher("Rule", matchers, |m| &mut m.rule)}
                    {matcher("Group", matchers, |m| &mut m.group)}
                    {matcher("Topic", matchers, |m| &mut m.topic)}
                    {matcher("Service", matchers, |m| &mut m.service)}
                    {matcher("Cluster", matchers, |m| &mut m.cluster)}
                </div>
                <p class="fs12 t3 formhint">"Each one that is filled in must match. "<span class="mono">"*"</span>" stands for anything."</p>
                {move || if everything.get() {
                    view! { <div class="formhint"><Note tone=Tone::Warning>"Nothing is filled in: "<b>"every alert"</b>" of every rule is kept quiet."</Note></div> }.into_any()
                } else {
                    view! { <p class="fs12 t2 formhint">{quiet}</p> }.into_any()
                }}
            </section>
            <section>
                <h3 class="h3">"How long"</h3>
                <div class="seg" role="group" aria-label="How long">
                    <button aria-pressed=chosen(Length::Hours(1)) on:click=choose(Length::Hours(1))>"1\u{a0}h"</button>
                    <button aria-pressed=chosen(Length::Hours(4)) on:click=choose(Length::Hours(4))>"4\u{a0}h"</button>
                    <button aria-pressed=chosen(Length::Morning) on:click=choose(Length::Morning)>"Until 08:00"</button>
                    <button aria-pressed=chosen(Length::Custom) on:click=choose(Length::Custom)>"Until…"</button>
                </div>
                {move || (length.get() == Length::Custom).then(|| view! {
                    <input class="input num custom" type="datetime-local" aria-label="Until" prop:value=custom
                        on:input=move |ev| custom.set(event_target_value(&ev))/>
                })}
                <p class="fs12 t2 formhint num">{until}</p>
            </section>
            <section>
                <h3 class="h3">"Who and why"</h3>
                <label class="field"><span class="lbl">"Name"</span>
                    <input class="input" data-testid="silence-author" maxlength=acts::NAME_AT_MOST prop:value=author on:input=move |ev| author.set(event_target_value(&ev))/>
                    <span class="hint">"Stored as claimed."</span>
                </label>
                <label class="field nextfield"><span class="lbl">"Comment"</span>
                    <textarea class="input" rows="3" maxlength=COMMENT_AT_MOST placeholder="What is being done, a ticket" prop:value=comment on:input=move |ev| comment.set(event_target_value(&ev))></textarea>
                </label>
            </section>
        </Panel>
    }
}

/// A field for one matcher.
fn matcher(
    label: &'static str,
    matchers: RwSignal<Matchers>,
    part: fn(&mut Matchers) -> &mut Option<String>,
) -> impl IntoView {
    let value = move || {
        // A part is reached by a mutable way only; the copy is small.
        let mut all = matchers.get();
        part(&mut all).clone().unwrap_or_default()
    };
    view! {
        <label>
            <span class="lbl">{label}</span>
            <input class="input mono" placeholder="any" spellcheck="false" maxlength="200" prop:value=value
                data-testid=format!("match-{}", label.to_lowercase())
                on:input=move |ev| {
                    let typed = event_target_value(&ev).trim().to_owned();
                    matchers.update(|m| *part(m) = Some(typed).filter(|t| !t.is_empty()));
                }/>
        </label>
    }
}
