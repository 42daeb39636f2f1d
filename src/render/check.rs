//! `check`: every template on every sample incident, in every format, through the lint; `matrix`: which words there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::lint::{Finding, lint};
use super::message::{Format, Markup};
use super::problem::{Level, Problem};
use super::sample::{Stage, samples, zone};
use super::templates::File;
use super::{Occasion, RenderError, Templates, Wording, render};

/// Renders every file on the sample incidents. Problems are sorted by file and line; each is shown once, with the first sample
/// that shows it. That a set has loaded says already that it names only what it may.
pub fn check(templates: &Templates) -> Vec<Problem> {
    let stage = Stage::set();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for file in templates.files() {
        for sample in samples(file.occasion) {
            let scene = stage.scene(&sample, file.occasion);
            for format in formats(file) {
                let wording = wording(templates, file, format);
                let (line, findings) = match render(templates, &scene, &wording) {
                    Ok(rendered) => (None, lint(templates, &rendered.message, &scene, &wording)),
                    Err(RenderError::Failed { message, .. }) => (Some(1), vec![broken(message)]),
                    Err(error) => (Some(1), vec![broken(error.to_string())]),
                };
                for finding in findings.into_iter().filter(|finding| !sample.excused.contains(&finding.check)) {
                    let line = line.unwrap_or_else(|| line_of(file, format, &finding));
                    if seen.insert((file.path.clone(), line, format.word(), finding.check, finding.message.clone())) {
                        problems.push(Problem {
                            file: file.path.clone(),
                            line,
                            level: finding.level,
                            check: finding.check,
                            message: format!(
                                "{}: {}: {} (on: {})",
                                finding.check, format, finding.message, sample.name
                            ),
                        });
                    }
                }
            }
        }
    }
    problems.sort_by(|a, b| (&a.file, a.line, a.check).cmp(&(&b.file, b.line, b.check)));
    problems
}

fn broken(message: String) -> Finding {
    Finding { level: Level::Block, check: "missing", message }
}

/// Posts are for our own outlets and the press. No template makes an alert.
fn formats(file: &File) -> impl Iterator<Item = Format> {
    let posts = matches!(file.audience.as_str(), "public" | "press") || file.parts.contains_key("post");
    let written = move |format: &Format| match format {
        Format::Post => posts,
        Format::Cap => false,
        _ => true,
    };
    Format::ALL.iter().copied().filter(written)
}

fn wording(templates: &Templates, file: &File, format: Format) -> Wording {
    Wording {
        template: file.audience.clone(),
        clearance: templates.clearance(&file.audience),
        occasion: file.occasion,
        locale: file.locale.clone(),
        zone: zone(&file.locale).into(),
        format,
        markup: Markup::Plain,
    }
}

/// The line of the part that a finding is about.
fn line_of(file: &File, format: Format, finding: &Finding) -> usize {
    let part = match format {
        _ if finding.message.starts_with("a title") || finding.message.starts_with("a subject") => "headline",
        Format::Sms => "short",
        Format::Push if !file.parts.contains_key("push") => "short",
        Format::Email | Format::Webhook => "body",
        other => other.word(),
    };
    file.parts.get(part).or_else(|| file.parts.get("body")).map_or(1, |(line, _)| *line)
}

/// Audience × occasion × locale. A cell is there only where a file is: what stands in for it counts as missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    pub locales: Vec<String>,
    /// Audience, occasion, and for each locale the file.
    pub rows: Vec<(String, Occasion, Vec<Option<String>>)>,
}

impl Matrix {
    pub fn there(&self) -> usize {
        self.rows.iter().map(|(_, _, cells)| cells.iter().flatten().count()).sum()
    }

    pub fn missing(&self) -> usize {
        self.rows.iter().map(|(_, _, cells)| cells.iter().filter(|cell| cell.is_none()).count()).sum()
    }
}

pub fn matrix(templates: &Templates) -> Matrix {
    let mut files: BTreeMap<(&str, Occasion, &str), &File> = BTreeMap::new();
    for file in templates.files() {
        files.insert((&file.audience, file.occasion, &file.locale), file);
    }
    let audiences: BTreeSet<&str> = files.keys().map(|(audience, _, _)| *audience).collect();
    let mut locales: Vec<String> = templates.locales().map(str::to_string).collect();
    // English, which the others fall back to, first.
    locales.sort_by_key(|locale| (locale != super::templates::FALLBACK_LOCALE, locale.clone()));
    let rows = audiences.iter().flat_map(|audience| Occasion::ALL.iter().map(move |occasion| (*audience, *occasion)));
    let rows = rows.map(|(audience, occasion)| {
        let cell = |locale: &String| files.get(&(audience, occasion, locale.as_str())).map(|file| file.path.clone());
        (audience.to_string(), occasion, locales.iter().map(cell).collect())
    });
    Matrix { rows: rows.collect(), locales }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0).max(8);
        let audience = widest(&mut self.rows.iter().map(|(audience, _, _)| audience.len()));
        let occasion = widest(&mut Occasion::ALL.iter().map(|occasion| occasion.word().len()));
        write!(f, "{:audience$}  {:occasion$}", "audience", "occasion")?;
        self.locales.iter().try_for_each(|locale| write!(f, "  {locale:>5}"))?;
        writeln!(f)?;
        for (name, of, cells) in &self.rows {
            write!(f, "{name:audience$}  {:occasion$}", of.word())?;
            for cell in cells {
                write!(f, "  {:>5}", if cell.is_some() { "yes" } else { "-" })?;
            }
            writeln!(f)?;
        }
        writeln!(f, "{} there, {} missing", self.there(), self.missing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every audience on every occasion in English, and customers on the demo's occasions in four languages more.
    #[test]
    fn the_shipped_words_are_all_there_and_pass() {
        let set = Templates::embedded().expect("loads");
        let problems: Vec<String> = check(&set)
            .iter()
            .filter(|problem| problem.level == Level::Block)
            .map(|problem| problem.to_string())
            .collect();
        assert_eq!(problems, Vec::<String>::new());
        let matrix = matrix(&set);
        assert_eq!(matrix.locales, ["en", "de", "es", "hi", "pt"]);
        assert_eq!(matrix.rows.len(), 7 * Occasion::ALL.len());
        for (audience, occasion, cells) in &matrix.rows {
            assert!(cells[0].is_some(), "{audience} {occasion} in English");
        }
        use Occasion::*;
        for occasion in [Investigating, Acknowledged, Identified, Update, Restoring, Resolved, Correction] {
            let (_, _, cells) =
                matrix.rows.iter().find(|row| row.0 == "customers" && row.1 == occasion).expect("a row");
            assert!(cells.iter().all(Option::is_some), "customers {occasion}: {cells:?}");
        }
    }

    #[test]
    fn a_fault_is_shown_with_file_line_and_the_sample_that_shows_it() {
        let mut texts = super::super::templates::embedded_texts();
        texts.retain(|path, _| ["layouts/", "locales/", "lint/"].iter().any(|folder| path.starts_with(folder)));
        let text = "{{#*inline \"headline\"}}{{services}} down{{/inline}}\n\
                    {{#*inline \"short\"}}{{sender}}: {{services}} down. Please wait. {{check}}{{/inline}}\n\
                    {{#*inline \"body\"}}{{Services}} are down, due to a bug.{{/inline}}\n";
        texts.insert("staff/holding.hbs".into(), text.into());
        let set = Templates::from_files(texts, BTreeMap::new()).expect("loads");
        let shown: Vec<String> = check(&set).iter().map(|problem| problem.to_string()).collect();
        for expected in [
            "templates/staff/holding.hbs:2: next-update: sms: does not say when the next update comes, with its zone (on: what is known of any incident)",
            "templates/staff/holding.hbs:3: cause: email: \"due to\" names a cause, and nobody has confirmed one (on: what is known of any incident)",
        ] {
            assert!(shown.iter().any(|line| line == expected), "{shown:#?}");
        }
        let matrix = matrix(&set);
        assert_eq!((matrix.there(), matrix.missing()), (1, 16 * 5 - 1));
        assert!(matrix.to_string().contains("staff     holding          yes      -      -      -      -"), "{matrix}");
    }
}
