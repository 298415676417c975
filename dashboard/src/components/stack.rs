//! Stack traces, with the frames of frameworks folded.

use leptos::prelude::*;

/// Packages whose frames say nothing about the program that failed.
const FRAMEWORKS: [&str; 14] = [
    "org.springframework.",
    "org.apache.kafka.",
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "sun.",
    "kotlin.",
    "scala.",
    "io.opentelemetry.",
    "io.micrometer.",
    "reactor.",
    "io.netty.",
    "org.apache.tomcat.",
];
/// Lines shown at most; the API sends 16 KiB at most.
const LINES_AT_MOST: usize = 400;

/// A part of a stack trace.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    /// A line as it is.
    Line(String),
    /// Frames of a framework: its name and the lines.
    Folded(String, Vec<String>),
}

/// Returns the framework a frame belongs to.
fn framework(line: &str) -> Option<&'static str> {
    let frame = line.trim_start().strip_prefix("at ")?;
    // `at java.base/java.net.Socket.read(Socket.java:1)`
    let frame = frame.split_once('/').map_or(frame, |(_, rest)| rest);
    FRAMEWORKS.into_iter().find(|f| frame.starts_with(f))
}

/// Divides a stack trace into lines and folded runs; a run of one frame is not folded.
fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in text.lines().take(LINES_AT_MOST) {
        let line = line.trim_end().to_owned();
        match (framework(&line), parts.last_mut()) {
            (Some(_), Some(Part::Folded(_, lines))) => lines.push(line),
            (Some(name), _) => parts.push(Part::Folded(
                name.trim_end_matches('.').to_owned(),
                vec![line],
            )),
            (None, _) => parts.push(Part::Line(line)),
        }
    }
    parts
        .into_iter()
        .flat_map(|part| match part {
            Part::Folded(_, lines) if lines.len() == 1 => {
                lines.into_iter().map(Part::Line).collect::<Vec<_>>()
            }
            part => vec![part],
        })
        .collect()
}

/// Draws a stack trace; folded frames open on click.
pub(crate) fn stack_trace(text: &str) -> impl IntoView + use<> {
    let parts = parts(text);
    view! {
        <pre class="codeblock stack" tabindex="0" aria-label="Stack trace">
            {parts.into_iter().map(|part| match part {
                Part::Line(line) => view! { <span class="fr">{line}"\n"</span> }.into_any(),
                Part::Folded(name, lines) => {
                    let open = RwSignal::new(false);
                    let label = format!("{} frames of {name}", lines.len());
                    let all = lines.join("\n") + "\n";
                    view! {
                        <button class="frs" aria-expanded=move || open.get().to_string() on:click=move |_| open.update(|o| *o = !*o)>
                            {move || if open.get() { format!("{label}, fold\n") } else { format!("{label}, folded\n") }}
                        </button>
                        {move || open.get().then(|| view! { <span class="fr t3">{all.clone()}</span> })}
                    }.into_any()
                }
            }).collect_view()}
        </pre>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_frameworks_fold_and_the_programs_own_stay() {
        let text = "Boom: no\n\tat c.shop.Pay.charge(Pay.java:1)\n\tat org.springframework.kafka.A.b(A.java:1)\n\tat java.base/java.lang.Thread.run(T.java:2)\nCaused by: X\n\tat java.net.Socket.read(S.java:9)\n";
        let parts = parts(text);
        assert_eq!(parts.len(), 5);
        assert!(
            matches!(&parts[2], Part::Folded(name, lines) if name == "org.springframework" && lines.len() == 2)
        );
        assert!(matches!(&parts[4], Part::Line(line) if line.contains("Socket")));
    }

    #[test]
    fn a_giant_stack_trace_is_cut() {
        assert_eq!(parts(&"x\n".repeat(10_000)).len(), LINES_AT_MOST);
    }
}
