//! The pages as HTML: a participant's, with all its parts, of which the script shows one at a time; the researcher's login
//! and progress. Every text is escaped by [`maud`]. Addresses are relative, so that a proxy may put a prefix before them.

use crate::study::{design::StudyDesign, pictures::SIDE, tally::AlgorithmTally};
use maud::{DOCTYPE, Markup, html};

pub const STYLE: &str = include_str!("study.css");
pub const SCRIPT: &str = include_str!("study.js");

/// A visitor's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    New,
    Unfinished,
    Completed,
    /// None, and no more are wanted.
    Full,
}

impl Visit {
    /// As the script reads it.
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unfinished => "unfinished",
            Self::Completed => "completed",
            Self::Full => "full",
        }
    }
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="study.css";
            }
            (body)
        }
    }
}

const TITLE: &str = "Real or fake colors?";

/// The page of a participant.
pub fn participant(design: &StudyDesign, visit: Visit) -> Markup {
    document(
        TITLE,
        &html! {
            body data-visit=(visit.name()) {
                main {
                    noscript { p { "This study needs JavaScript: please allow it for this page." } }
                    (consent(design))
                    (instructions(design))
                    (trial())
                    section #message hidden { h1 { } p { } button type="button" { "Continue" } }
                    section #end hidden {
                        h1 { "Thank you" }
                        p { "You have finished. All your answers are stored; you may close this page." }
                        p #code hidden { "Your completion code: " strong { } }
                    }
                    section #full hidden {
                        h1 { (TITLE) }
                        p { "The study has all the participants that it needs. Thank you for your interest." }
                    }
                    p #notice role="status" { }
                }
                script src="study.js" { }
            }
        },
    )
}

fn consent(design: &StudyDesign) -> Markup {
    let paragraphs = design.consent.split("\n\n").map(str::trim).filter(|text| !text.is_empty());
    html! {
        section #consent hidden {
            h1 { (TITLE) }
            @for text in paragraphs { p { (text) } }
            p { label { input type="checkbox" autocomplete="off"; " I have read this and agree to take part" } }
            button type="button" disabled { "Agree and continue" }
        }
    }
}

fn instructions(design: &StudyDesign) -> Markup {
    html! {
        section #instructions hidden {
            h1 { (TITLE) }
            p {
                "You will see two pictures of the same scene, one after the other, each for one second. One is a photograph; the "
                "colors of the other were made by a computer program."
            }
            p { strong { "Which one has the fake colors?" } " Take as long as you like for the answer. If you are unsure, guess." }
            ul {
                @if design.practice > 0 {
                    li { (design.practice) " pairs are for practice: after each you see which picture was fake." }
                }
                li { (design.trials) " pairs follow, without this. Rest before an answer if you need to." }
                li.keys {
                    kbd { "←" } ", " kbd { "↑" } " or " kbd { "1" } " is the first picture, "
                    kbd { "→" } ", " kbd { "↓" } " or " kbd { "2" }
                    " the second, " kbd { "Enter" } " continues."
                }
                li { "Please take part only if you see colors normally. Turn off color filters such as a night mode." }
                li { "Keep this page in view: a pair that was hidden, or shown before a reload, is not shown again." }
            }
            button type="button" { "Start" }
        }
    }
}

fn trial() -> Markup {
    let place = |id: &str, name: &str, key: &str| {
        html! {
            div.place id=(id) {
                canvas width=(SIDE) height=(SIDE) { }
                button type="button" hidden { (name) " " kbd { (key) } }
                span.label { }
            }
        }
    };
    html! {
        section #trial hidden {
            p #count { }
            div.pair { (place("first", "First", "←")) (place("second", "Second", "→")) }
            p #question aria-live="polite" { }
            button type="button" hidden { "Next" }
        }
    }
}

/// The researcher's login.
pub fn login(wrong: bool) -> Markup {
    document(
        "Study",
        &html! {
            body { main {
                h1 { "Study" }
                p { "Enter the token that " code { "hueristic study serve" } " printed at its first start." }
                form method="post" action="admin" {
                    label for="token" { "Token" }
                    input #token name="token" type="password" autocomplete="current-password" required autofocus;
                    button { "Log in" }
                }
                @if wrong { p.wrong role="alert" { "This is not the token." } }
            } }
        },
    )
}

const COLUMNS: [&str; 9] = [
    "algorithm",
    "complete",
    "underway",
    "abandoned",
    "answers",
    "marked",
    "void",
    "exposure, ms",
    "frame, ms",
];

/// The researcher's page: progress of each algorithm.
pub fn progress(design: &StudyDesign, tallies: &[AlgorithmTally]) -> Markup {
    document(
        "Study: progress",
        &html! {
            body { main.wide {
                h1 { "Progress" }
                p {
                    (design.participants) " participants are wanted for each algorithm, with " (design.practice) " + "
                    (design.trials) " trials of " (design.photographs.len()) " photographs."
                }
                (tally_table(design, tallies))
                p.notes {
                    "Abandoned: unfinished, and without an answer for half an hour; others take their places. Marked: an exposure that "
                    "was off by more than a frame, or an answer that came too early. Void: hidden while it was shown, or reloaded. "
                    "Exposure and frame are medians."
                }
                p { a href="admin/trials.csv" { "All trials (CSV)" } }
            } }
        },
    )
}

fn tally_table(design: &StudyDesign, tallies: &[AlgorithmTally]) -> Markup {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Progress of each algorithm" { table {
            thead { tr { @for column in COLUMNS { th scope="col" { (column) } } } }
            tbody { @for tally in tallies { tr {
                th scope="row" { (tally.name) }
                td { (tally.complete) " of " (design.participants) }
                @for count in [tally.underway, tally.abandoned, tally.answered, tally.marked, tally.void] {
                    td { (count) }
                }
                td { (number(tally.exposure)) }
                td { (number(tally.frame)) }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::design::sample_design;

    #[test]
    fn texts_are_escaped_and_paragraphs_kept() {
        let design =
            StudyDesign { consent: "One <b>&\n\n  two\nlines  \n\n\n".into(), ..sample_design(1, 50) };
        let page = participant(&design, Visit::New).into_string();
        assert!(page.contains("<p>One &lt;b&gt;&amp;</p><p>two\nlines</p>"), "{page}");
        let tally = AlgorithmTally { name: "<i>".into(), ..AlgorithmTally::default() };
        assert!(progress(&design, &[tally]).into_string().contains("&lt;i&gt;"));
    }

    #[test]
    fn pages_name_no_host() {
        let design = sample_design(1, 50);
        let pages =
            [participant(&design, Visit::Full), login(true), progress(&design, &[])].map(Markup::into_string);
        for text in pages.iter().map(String::as_str).chain([STYLE, SCRIPT]) {
            assert!(!text.contains("//cdn") && !text.contains("http") && !text.contains("=\"/"), "{text}");
        }
    }
}
