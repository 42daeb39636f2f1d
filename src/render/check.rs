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
    let stage = Stage::new();
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

/// Posts are for our own outlets and the press.
fn formats(file: &File) -> impl Iterator<Item = Format> {
    let posts = matches!(file.audience.as_str(), "public" | "press") || file.parts.contains_key("post");
    Format::ALL.iter().copied().filter(move |format| *format != Format::Post || posts)
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
