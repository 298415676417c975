//! The form of a rule: what fires it, whether it would have fired, and what then.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_shared::alerts::{RuleSpec, Rules, Watch};
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::channels::{Tested, test, tested_mark};
use super::draft::{Draft, example, free_id, named_key};
use super::trial::WouldHaveFired;
use super::{Desk, acts, file};
use crate::api::{Done, delete};
use crate::components::icons::Icon;
use crate::components::loading::{error_box, skeleton_rows};
use crate::components::snippet::Snippet;
use crate::components::surface::{Blank, Note, Panel, Tone};
use crate::state::query::segment;

/// Selectors of a rule: its key, the word before the field, and how the draft holds it.
type Selector = (&'static str, &'static str, Part);
/// A field of the draft.
type Part = fn(&mut Draft) -> &mut String;

/// Returns the selectors that mean something for what is watched, the nearest first.
fn selectors(of: &str) -> Vec<Selector> {
    let group: Selector = ("group", "group", |d| &mut d.group);
    let topic: Selector = ("topic", "topic", |d| &mut d.topic);
    let service: Selector = ("service", "service", |d| &mut d.service);
    let cluster: Selector = ("cluster", "cluster", |d| &mut d.cluster);
    match of {
        "group" => vec![group, topic, cluster],
        "queue" => vec![topic, cluster],
        "edge" => vec![service, topic, group, cluster],
        "cluster" => vec![cluster],
        "service" => vec![service],
        "collector" => Vec::new(),
        _ => vec![group, topic, service, cluster],
    }
}

/// Returns what is watched, as the sentence says it.
fn each(of: &str) -> String {
    match of {
        "group" => "each group".to_owned(),
        "queue" => "each dead-letter topic".to_owned(),
        "edge" => "each edge of the map".to_owned(),
        "cluster" => "each cluster".to_owned(),
        "service" => "each service".to_owned(),
        "collector" => "this collector".to_owned(),
        other => format!("each {other}"),
    }
}

/// The panel of one rule, by its id or `new`.
#[component]
pub(super) fn RulePanel(
    /// Its id, or `new`.
    id: String,
) -> impl IntoView {
    let desk = Desk::get_context();
    let wanted = id.clone();
    // The form begins once, when the rule is there; newer answers must not write over what is being typed.
    let begun = Memo::new(move |before: Option<&Option<bool>>| {
        if let Some(Some(true)) = before {
            return Some(true);
        }
        desk.rules.data.with(|rules| {
            let rules = rules.as_ref()?;
            Some(wanted == "new" || rules.rules.iter().any(|r| r.spec.id == wanted))
        })
    });
    let close = Callback::new(move |()| desk.open_rule(None));
    move || match begun.get() {
        Some(true) => {
            let rules = desk.rules.data.get_untracked().unwrap_or_else(empty);
            view! { <Form id=id.clone() rules=rules/> }.into_any()
        }
        Some(false) => {
            let text =
                format!("No rule is called {id}. It may have been deleted, or its file changed.");
            view! {
                <Panel label="Rule" kind="Rule" title=ViewFn::from(|| "No such rule") on_close=close>
                    <Blank icon=Icon::Alert title="There is no such rule"><p class="fs12 t2 anywhere">{text.clone()}</p></Blank>
                </Panel>
            }
            .into_any()
        }
        None => view! {
            <Panel label="Rule" kind="Rule" title=ViewFn::from(|| "Rule") on_close=close>
                {move || match desk.rules.error.get() {
                    Some(error) => error_box("rules", &error, move || desk.rules.refetch()),
                    None => skeleton_rows(6).into_any(),
                }}
            </Panel>
        }
        .into_any(),
    }
}

fn empty() -> Arc<Rules> {
    Arc::new(Rules {
        rules: Vec::new(),
        watches: Vec::new(),
        problems: Vec::new(),
        file: None,
    })
}

/// What the form's parts share.
#[derive(Clone, Copy)]
struct Fields {
    draft: RwSignal<Draft>,
    watch: Memo<Option<Watch>>,
    /// The key that the collector refused.
    wrong: RwSignal<Option<&'static str>>,
}

impl Fields {
    /// A text field of the draft.
    fn input(
        self,
        key: &'static str,
        part: Part,
        class: &'static str,
        label: &'static str,
        placeholder: impl Fn() -> String + Send + Sync + 'static,
    ) -> impl IntoView {
        let value = move || {
            let mut draft = self.draft.get();
            part(&mut draft).clone()
        };
        view! {
            <input class=format!("input {class}") aria-label=label placeholder=placeholder spellcheck="false" autocomplete="off" maxlength="400"
                data-testid=format!("rule-{key}")
                prop:value=value
                aria-invalid=move || (self.wrong.get() == Some(key)).then_some("true")
                on:input=move |ev| {
                    let typed = event_target_value(&ev);
                    self.draft.update(|d| *part(d) = typed);
                    if self.wrong.get_untracked() == Some(key) {
                        self.wrong.set(None);
                    }
                }/>
        }
    }
}

/// The form.
#[component]
fn Form(
    /// Its id, or `new`.
    id: String,
    /// The rules as they were when it was opened.
    rules: Arc<Rules>,
) -> impl IntoView {
    let desk = Desk::get_context();
    let is_new = id == "new";
    let begin = rules
        .rules
        .iter()
        .find(|r| !is_new && r.spec.id == id)
        .map_or_else(|| Draft::new(&rules.watches), |r| Draft::of(&r.spec));
    let watches = StoredValue::new(rules.watches.clone());
    let draft = RwSignal::new(begin);
    let watch = Memo::new(move |_| {
        let id = draft.with(|d| d.watch.clone());
        watches.with_value(|w| w.iter().find(|w| w.id == id).cloned())
    });
    let fields = Fields {
        draft,
        watch,
        wrong: RwSignal::new(None),
    };
    let ids = StoredValue::new(
        rules
            .rules
            .iter()
            .map(|r| r.spec.id.clone())
            .collect::<HashSet<_>>(),
    );
    let spec = Memo::new(move |_| {
        let mut spec = watch.with(|w| draft.with(|d| d.spec(w.as_ref())));
        if draft.with(|d| d.id.trim().is_empty()) {
            spec.id = ids.with_value(|ids| free_id(&spec.id, |id| ids.contains(id)));
        }
        spec
    });
    let replaces = Memo::new(move |_| {
        is_new && ids.with_value(|ids| spec.with(|spec| ids.contains(&spec.id)))
    });
    // Where it is from may change while the form is open: saving makes it one of the form.
    let mine = id.clone();
    let now_there = Memo::new(move |_| {
        desk.rules.data.with(|rules| {
            let rules = rules.as_ref()?;
            let rule = rules.rules.iter().find(|r| r.spec.id == mine)?;
            Some((rule.name.clone(), rule.origin.clone()))
        })
    });
    let title = move || match (is_new, now_there.get()) {
        (true, _) => "New rule".to_owned(),
        (false, Some((name, _))) => name,
        (false, None) => spec.with(|s| s.id.clone()),
    };
    let origin = Memo::new(move |_| now_there.get().map(|(_, origin)| origin));
    let from_where = {
        let file = rules.file.clone();
        move || {
            match origin.get().as_deref() {
            Some("file") => Some(format!(
                "This rule is from {}. Saving makes one here that takes its place; deleting that one brings this one back.",
                file.clone().unwrap_or_else(|| "the file of rules".to_owned())
            )),
            Some("built_in") => Some("This rule is built in. Saving makes one here that takes its place; deleting that one brings this one back.".to_owned()),
            _ => None,
        }
        }
    };

    let busy = RwSignal::new(false);
    let refused = RwSignal::new(None::<String>);
    let as_file = RwSignal::new(false);
    let deleting = RwSignal::new(false);
    let tests = RwSignal::new(Vec::<(String, Tested)>::new());

    let save = move |_| {
        let rule = spec.get_untracked();
        busy.set(true);
        refused.set(None);
        fields.wrong.set(None);
        let saved = rule.id.clone();
        acts::act::<Done>(desk, "/api/v1/rules".to_owned(), rule, "", move |answer| {
            busy.try_set(false);
            match answer {
                Ok(_) => {
                    desk.toasts.done("The rule is saved and counts now");
                    if is_new {
                        desk.open_rule(Some(&saved));
                    }
                }
                Err(error) => {
                    let why = error.sentence();
                    fields.wrong.try_set(named_key(&why));
                    refused.try_set(Some(why));
                }
            }
        });
    };
    let send_tests = move |_| {
        let told = draft.with_untracked(|d| d.tell.clone());
        let names = if told.is_empty() {
            desk.channels.data.with_untracked(|c| {
                c.iter()
                    .flat_map(|c| &c.channels)
                    .map(|c| c.name.clone())
                    .collect()
            })
        } else {
            told
        };
        tests.set(Vec::new());
        for (i, name) in names.into_iter().enumerate() {
            tests.update(|all| all.push((name.clone(), Tested::Asking)));
            test(desk, &name, move |result| {
                tests.try_update(|all| {
                    if let Some(entry) = all.get_mut(i) {
                        entry.1 = result;
                    }
                });
            });
        }
    };
    let no_channel = Memo::new(move |_| {
        desk.channels
            .data
            .with(|c| c.as_ref().is_none_or(|c| c.channels.is_empty()))
    });
    let erase = StoredValue::new({
        let id = id.clone();
        move || {
            let id = id.clone();
            busy.set(true);
            spawn_local(async move {
                let answer = delete(&format!("/api/v1/rules/{}", segment(&id))).await;
                busy.try_set(false);
                match answer {
                    Ok(_) => {
                        desk.refetch();
                        desk.toasts.done("The rule is deleted");
                        desk.open_rule(None);
                    }
                    Err(error) => {
                        deleting.try_set(false);
                        desk.toasts.failed("The rule is not deleted.", &error);
                    }
                }
            });
        }
    });
    let can_delete = Memo::new(move |_| !is_new && origin.get().as_deref() == Some("form"));
    let toml = Signal::derive(move || spec.with(file::toml));
    let badge = id.clone();
    view! {
        <Panel label=if is_new { "New rule" } else { "Edit rule" } kind="Rule"
            title=ViewFn::from(move || view! { <span>{title}</span>{(!is_new).then(|| view! { <span class="badge mono">{badge.clone()}</span> })} })
            on_close=Callback::new(move |()| desk.open_rule(None))
            foot=ViewFn::from(move || view! {
                {move || if deleting.get() {
                    view! {
                        <span class="fs12 t2 grow">"Delete it? If a file's or a built-in rule has this id, that one counts again."</span>
                        <button class="btn danger" data-testid="delete-rule-yes" disabled=busy on:click=move |_| erase.with_value(|erase| erase())>"Delete rule"</button>
                        <button class="btn ghost" on:click=move |_| deleting.set(false)>"Keep"</button>
                    }.into_any()
                } else {
                    view! {
                        <button class="btn primary" data-testid="save-rule" disabled=busy on:click=save>"Save rule"</button>
                        <button class="btn" data-testid="test-rule" disabled=no_channel on:click=send_tests
                            title=move || if no_channel.get() { "No channel is set" } else { "Sends a test to the channels that this rule tells" }>{Icon::Send.draw("")}"Send a test"</button>
                        <button class="btn ghost" data-testid="as-file" aria-expanded=move || as_file.get().to_string() on:click=move |_| as_file.update(|o| *o = !*o)>"As file"</button>
                        {move || can_delete.get().then(|| view! {
                            <button class="btn ghost icon right" aria-label="Delete rule" title="Delete rule" data-testid="delete-rule" on:click=move |_| deleting.set(true)>{Icon::Delete.draw("")}</button>
                        })}
                    }.into_any()
                }}
            })>
            {move || refused.get().map(|why| view! {
                <section><div role="alert" data-testid="rule-refused"><Note tone=Tone::Critical><b>"The rule was not saved. "</b><span class="anywhere">{why}</span></Note></div></section>
            })}
            {move || from_where().map(|text| view! { <section class="fromwhere"><div class="note">{Icon::Info.draw("")}<div class="anywhere">{text}</div></div></section> })}
            {move || as_file.get().then(|| view! {
                <section data-testid="rule-file"><h3 class="h3">"As file"<span class="t3 h3more">"for the file given with --rules"</span></h3><Snippet text=toml what="rule as TOML"/></section>
            })}
            {condition(fields, watches)}
            <WouldHaveFired spec=spec watch=watch/>
            {consequence(fields, desk, spec, is_new.then_some(replaces))}
            {move || tests.with(|tests| (!tests.is_empty()).then(|| view! {
                <section role="status"><h3 class="h3">"Test"</h3>
                    {tests.iter().map(|(name, result)| view! { <div class="testline"><b class="med">{name.clone()}</b>{tested_mark(result)}</div> }).collect_view()}
                </section>
            }))}
        </Panel>
    }
}

/// What fires it, as a sentence with fields.
fn condition(fields: Fields, watches: StoredValue<Vec<Watch>>) -> impl IntoView {
    let Fields { draft, watch, .. } = fields;
    let of =
        Memo::new(move |_| watch.with(|w| w.as_ref().map(|w| w.of.clone()).unwrap_or_default()));
    let unit = Memo::new(move |_| watch.with(|w| w.as_ref().and_then(|w| w.unit.clone())));
    let less = Memo::new(move |_| watch.with(|w| w.as_ref().is_some_and(|w| w.less_is_worse)));
    let help = move || watch.with(|w| w.as_ref().map(|w| w.help.clone()));
    let options = watches.with_value(|w| {
        w.iter()
            .map(|w| {
                let id = w.id.clone();
                let selected = draft.with_untracked(|d| d.watch == id);
                view! { <option value=id selected=selected>{w.label.clone()}</option> }
            })
            .collect_view()
    });
    // A rule of a file may watch what this version does not know.
    let strange = watch.with_untracked(Option::is_none).then(|| {
        let id = draft.with_untracked(|d| d.watch.clone());
        view! { <option value=id.clone() selected=true>{id.clone()}</option> }
    });
    view! {
        <section>
            <h3 class="h3">"Fire when"</h3>
            <div class="cond">
                <span>"the"</span>
                <span class="selbox">
                    <select class="ctl" aria-label="What is watched" data-testid="rule-watch"
                        on:change=move |ev| { let id = event_target_value(&ev); draft.update(|d| d.watch = id); }>{strange}{options}</select>
                    {Icon::ChevronDown.draw("")}
                </span>
                <span>{move || format!("of {}", each(&of.get()))}</span>
                {move || unit.get().map(|unit| view! {
                    <span class="row pair"><span>{if less.get() { "is under" } else { "is over" }}</span>
                    {fields.input("over", |d| &mut d.over, "num short", "Threshold", move || example(&unit).to_owned())}</span>
                })}
                <span class="row pair"><span>"for"</span>
                {fields.input("for", |d| &mut d.hold, "num short", "For this long", || "2m".to_owned())}</span>
            </div>
            {move || {
                let parts = selectors(&of.get());
                (!parts.is_empty()).then(|| view! {
                    <div class="selectors">
                        {parts.into_iter().map(|(key, word, part)| view! {
                            <label><span class="lbl">{word}</span>{fields.input(key, part, "mono", word, || "*".to_owned())}</label>
                        }).collect_view()}
                    </div>
                    <p class="fs11 t3 formhint">"Several with commas; "<span class="mono">"*"</span>" stands for anything, "<span class="mono">"!"</span>" leaves out; empty is all."</p>
                })
            }}
            <p class="fs12 t3 formhint">{help}</p>
        </section>
    }
}

/// What then: how bad, when it is over, who is told.
fn consequence(
    fields: Fields,
    desk: Desk,
    spec: Memo<RuleSpec>,
    replaces: Option<Memo<bool>>,
) -> impl IntoView {
    let Fields { draft, watch, .. } = fields;
    let unit = Memo::new(move |_| watch.with(|w| w.as_ref().and_then(|w| w.unit.clone())));
    let less = Memo::new(move |_| watch.with(|w| w.as_ref().is_some_and(|w| w.less_is_worse)));
    let severity = Memo::new(move |_| draft.with(|d| d.severity.clone()));
    let pressed = move |this: &'static str| move || (severity.get() == this).to_string();
    let set = move |this: &'static str| move |_| draft.update(|d| this.clone_into(&mut d.severity));
    let tell = Memo::new(move |_| draft.with(|d| d.tell.clone()));
    let others = Memo::new(move |_| {
        let told = tell.get();
        desk.channels.data.with(|c| {
            c.iter()
                .flat_map(|c| &c.channels)
                .map(|c| c.name.clone())
                .filter(|name| !told.contains(name))
                .collect::<Vec<_>>()
        })
    });
    let unknown_channel = move |name: &str| {
        desk.channels.data.with(|c| {
            c.as_ref()
                .is_some_and(|c| c.channels.iter().all(|c| c.name != name))
        })
    };
    let name_hint = move || watch.with(|w| draft.with(|d| d.suggested_name(w.as_ref())));
    let id_hint = move || spec.with(|s| s.id.clone());
    view! {
        <section>
            <h3 class="h3">"Then"</h3>
            <div class="form2 then">
                <div class="field"><span class="lbl">"Severity"</span>
                    <div class="seg" role="group" aria-label="Severity">
                        <button aria-pressed=pressed("warning") on:click=set("warning")>{Icon::Warning.draw("i-s c-warn")}"Warning"</button>
                        <button aria-pressed=pressed("critical") on:click=set("critical")>{Icon::Critical.draw("i-s c-crit")}"Critical"</button>
                    </div>
                </div>
                <div class="field"><span class="lbl">{move || match (unit.get(), less.get()) {
                    (None, _) => "Clears after being gone for",
                    (Some(_), false) => "Clears when under",
                    (Some(_), true) => "Clears when over",
                }}</span>
                    <div class="row clears">
                        {move || unit.get().map(|_| view! {
                            {fields.input("clear_under", |d| &mut d.clear_under, "num short", "Clears at", || "auto".to_owned())}
                            <span class="fs12 t2">"for"</span>
                        })}
                        {fields.input("clear_for", |d| &mut d.clear_for, "num short", "Clears after", || "auto".to_owned())}
                    </div>
                </div>
            </div>
            <div class="field nextfield"><span class="lbl">"Tell"</span>
                <div class="row wrap tells">
                    {move || tell.get().into_iter().map(|name| {
                        let gone = name.clone();
                        let label = format!("Do not tell {name}");
                        let lost = unknown_channel(&name);
                        view! {
                            <span class="tok ui" class:lost=lost title=lost.then_some("No channel of this name is set")>
                                {lost.then(|| Icon::Warning.draw("i-xs c-warn"))}{name}
                                <button class="x" aria-label=label on:click=move |_| draft.update(|d| d.tell.retain(|t| *t != gone))>{Icon::Close.draw("i-xs")}</button>
                            </span>
                        }
                    }).collect_view()}
                    {move || tell.with(Vec::is_empty).then(|| view! { <span class="fs12 t2">"every channel"</span> })}
                    {move || (!others.with(Vec::is_empty)).then(|| view! {
                        <span class="selbox small">
                            <select class="ctl" aria-label="Tell a channel" data-testid="rule-tell" prop:value=""
                                on:change=move |ev| {
                                    let name = event_target_value(&ev);
                                    if !name.is_empty() {
                                        draft.update(|d| d.tell.push(name));
                                    }
                                }>
                                <option value="" selected=true>{move || if tell.with(Vec::is_empty) { "Only…" } else { "Add" }}</option>
                                {others.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect_view()}
                            </select>
                            {Icon::Plus.draw("")}
                        </span>
                    })}
                </div>
            </div>
            <div class="field nextfield"><span class="lbl">"Runbook"</span>
                {fields.input("runbook", |d| &mut d.runbook, "mono", "Runbook", || "https://".to_owned())}
            </div>
            <div class="form2 then nextfield">
                <div class="field"><span class="lbl">"Name"</span>
                    {fields.input("name", |d| &mut d.name, "", "Name", name_hint)}
                </div>
                <div class="field"><span class="lbl">"Counted over"</span>
                    {fields.input("within", |d| &mut d.within, "num", "Counted over", || "auto".to_owned())}
                </div>
            </div>
            {replaces.map(|replaces| view! {
                <div class="field nextfield"><span class="lbl">"Id"</span>
                    {fields.input("id", |d| &mut d.id, "mono", "Id", id_hint)}
                    {move || if replaces.get() {
                        view! { <Note tone=Tone::Warning>"A rule has this id already: saving takes its place."</Note> }.into_any()
                    } else {
                        view! { <span class="hint">"Letters, digits and dashes."</span> }.into_any()
                    }}
                </div>
            })}
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::selectors;

    #[test]
    fn only_selectors_that_mean_something_are_offered() {
        let keys = |of| {
            selectors(of)
                .into_iter()
                .map(|(key, ..)| key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys("group"), ["group", "topic", "cluster"]);
        assert_eq!(keys("queue"), ["topic", "cluster"]);
        assert!(keys("collector").is_empty());
        // What a later collector watches can still be narrowed.
        assert_eq!(keys("planet").len(), 4);
    }
}
