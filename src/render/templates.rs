//! The set of templates, layouts and locales that a broadcast freezes. Enters the embedded files, an operator's directory
//! over them, or the bytes of a former set; leaves a set in which every file has been checked, with the digest of its bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use handlebars::template::Template;
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};

use super::guard::{Found, Guard};
use super::locale::{Consent, Locale};
use super::problem::{Level, Problem};
use super::{Occasion, base, layout, lint, nearest, parse};
use crate::incident::Clearance;

const MOST_FILES: usize = 5_000;
const FALLBACK_AUDIENCE: &str = "public";
pub const FALLBACK_LOCALE: &str = "en";

#[derive(RustEmbed)]
#[folder = "templates/"]
struct Embedded;

/// For an operator's English that says nothing about it.
static SHIPPED_CONSENT: LazyLock<Consent> = LazyLock::new(|| {
    let text = embedded_texts().remove("locales/en.toml").unwrap_or_default();
    let locale = Locale::parse(FALLBACK_LOCALE, &text).ok();
    locale.and_then(|locale| locale.consent).expect("it is in the binary")
});

/// What is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Files {
    /// Path below `templates/` to text.
    texts: BTreeMap<String, String>,
    clearances: BTreeMap<String, Clearance>,
}

/// One file of words.
pub struct File {
    /// As shown in problems: `templates/customers/update.de.hbs`.
    pub path: String,
    pub audience: String,
    pub occasion: Occasion,
    pub locale: String,
    /// Each part with its line in the file.
    pub parts: BTreeMap<String, (usize, Template)>,
}

pub struct Templates {
    files: Files,
    digest: [u8; 32],
    words: BTreeMap<(String, Occasion, String), File>,
    /// By name and locale.
    partials: BTreeMap<(String, String), Template>,
    pub(super) layouts: layout::Layouts,
    locales: BTreeMap<String, Locale>,
    /// Until each is with its locale.
    lints: BTreeMap<String, lint::WordLists>,
}

/// Which file speaks, and what it stands in for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    Locale { wanted: String, used: String },
    Occasion { wanted: Occasion, used: Occasion },
    Audience { wanted: String, used: String },
}

impl std::fmt::Display for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fallback::Locale { wanted, used } => write!(f, "locale {wanted}: {used} was used"),
            Fallback::Occasion { wanted, used } => write!(f, "occasion {wanted}: {used} was used"),
            Fallback::Audience { wanted, used } => write!(f, "audience {wanted}: {used} was used"),
        }
    }
}

/// The clearance of each folder of templates: the lowest of the audiences that it speaks to.
pub fn clearances<'a>(
    audiences: impl IntoIterator<Item = (&'a String, &'a crate::config::Audience)>,
) -> BTreeMap<String, Clearance> {
    let mut clearances = BTreeMap::new();
    for (name, audience) in audiences {
        let folder = audience.templates.clone().unwrap_or_else(|| name.clone());
        let lowest = clearances.entry(folder).or_insert(audience.clearance);
        *lowest = (*lowest).min(audience.clearance);
    }
    clearances
}

fn shipped_clearance(folder: &str) -> Clearance {
    match folder {
        "staff" | "executives" => Clearance::Internal,
        "businesses" | "regulators" => Clearance::Partner,
        _ => Clearance::Public,
    }
}

impl Templates {
    /// The embedded set as it ships.
    pub fn embedded() -> Result<Templates, Vec<Problem>> {
        Templates::load(None, BTreeMap::new())
    }

    /// The embedded files; those of the operator's directory, if there is one, add to them or replace them.
    pub fn load(directory: Option<&Path>, clearances: BTreeMap<String, Clearance>) -> Result<Templates, Vec<Problem>> {
        let mut texts = embedded_texts();
        if let Some(directory) = directory.filter(|directory| directory.is_dir()) {
            read_directory(directory, "", &mut texts)?;
        }
        Templates::from_files(texts, clearances)
    }

    /// A set given as paths below `templates/` and texts.
    pub fn from_files(
        texts: BTreeMap<String, String>,
        clearances: BTreeMap<String, Clearance>,
    ) -> Result<Templates, Vec<Problem>> {
        Templates::build(Files { texts, clearances })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.files).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Templates, Vec<Problem>> {
        let files = serde_json::from_slice(bytes)
            .map_err(|error| vec![problem("stored template set", (0, "syntax", error.to_string()))])?;
        Templates::build(files)
    }

    /// SHA-256 of `to_bytes`.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub fn locale(&self, tag: &str) -> &Locale {
        let found = [tag, base(tag), FALLBACK_LOCALE].iter().find_map(|tag| self.locales.get(*tag));
        found.unwrap_or_else(|| &self.locales[FALLBACK_LOCALE])
    }

    /// What is said about consent to a reader of `wanted`: in their language, else in the sender's, else in English. With the
    /// language that it is said in.
    pub fn consent(&self, wanted: &str, senders: &str) -> (&str, &Consent) {
        let tags = [wanted, base(wanted), senders, base(senders), FALLBACK_LOCALE];
        let found = tags.iter().find_map(|tag| {
            let (tag, locale) = self.locales.get_key_value(*tag)?;
            Some((tag.as_str(), locale.consent.as_ref()?))
        });
        found.unwrap_or_else(|| (FALLBACK_LOCALE, &SHIPPED_CONSENT))
    }

    /// The languages that the set speaks.
    pub fn locales(&self) -> impl Iterator<Item = &str> {
        self.locales.keys().map(String::as_str)
    }

    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.words.values()
    }

    pub fn clearance(&self, folder: &str) -> Clearance {
        self.files.clearances.get(folder).copied().unwrap_or_else(|| shipped_clearance(folder))
    }

    pub(super) fn exact(&self, audience: &str, occasion: Occasion, locale: &str) -> Option<&File> {
        self.words.get(&(audience.to_string(), occasion, locale.to_string()))
    }

    /// The file that speaks, and what it stands in for. Occasions whose words an update's words cannot stand in for are
    /// rather said in English than as an update; the others are rather said in the reader's language.
    pub fn find(&self, audience: &str, occasion: Occasion, locale: &str) -> Option<(&File, Vec<Fallback>)> {
        let mut locales = vec![locale, base(locale), FALLBACK_LOCALE];
        locales.dedup();
        let pairs: Vec<(Occasion, &str)> = if occasion.is_an_update() {
            locales.iter().flat_map(|locale| [(occasion, *locale), (Occasion::Update, *locale)]).collect()
        } else {
            let occasions = [occasion, Occasion::Update];
            occasions.iter().flat_map(|occasion| locales.iter().map(|locale| (*occasion, *locale))).collect()
        };
        let places =
            [audience, FALLBACK_AUDIENCE].into_iter().flat_map(|a| pairs.iter().map(move |(o, l)| (a, *o, *l)));
        let file =
            places.into_iter().find_map(|(audience, occasion, locale)| self.exact(audience, occasion, locale))?;
        let mut fallbacks = Vec::new();
        if file.audience != audience {
            fallbacks.push(Fallback::Audience { wanted: audience.into(), used: file.audience.clone() });
        }
        if file.occasion != occasion {
            fallbacks.push(Fallback::Occasion { wanted: occasion, used: file.occasion });
        }
        if file.locale != locale && base(locale) != file.locale {
            fallbacks.push(Fallback::Locale { wanted: locale.into(), used: file.locale.clone() });
        }
        Some((file, fallbacks))
    }

    /// What `{{> name}}` may include in a file: its own parts, and shared partials in its language, else without one.
    pub(super) fn partials_of(
        &self,
        parts: &BTreeMap<String, (usize, Template)>,
        locale: &str,
    ) -> BTreeMap<String, Template> {
        let mut partials = BTreeMap::new();
        for wanted in [FALLBACK_LOCALE, locale] {
            for ((name, has), template) in &self.partials {
                if has == wanted {
                    partials.insert(name.clone(), template.clone());
                }
            }
        }
        partials.extend(parts.iter().map(|(name, (_, template))| (name.clone(), template.clone())));
        partials
    }

    fn build(files: Files) -> Result<Templates, Vec<Problem>> {
        let bytes = serde_json::to_vec(&files).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let mut set = Templates {
            digest: digest.as_ref().try_into().unwrap_or_default(),
            words: BTreeMap::new(),
            partials: BTreeMap::new(),
            layouts: layout::Layouts::default(),
            locales: BTreeMap::new(),
            lints: BTreeMap::new(),
            files: Files::default(),
        };
        let mut problems = Vec::new();
        if files.texts.len() > MOST_FILES {
            problems.push(problem("templates", (0, "size", format!("more than {MOST_FILES} files"))));
            return Err(problems);
        }
        for (path, text) in &files.texts {
            if let Err(found) = set.add(path, text) {
                problems.extend(found.into_iter().map(|found| problem(path, found)));
            }
        }
        if !set.locales.contains_key(FALLBACK_LOCALE) && problems.is_empty() {
            problems.push(problem("locales/en.toml", (0, "locale", "is missing".into())));
        }
        if problems.is_empty() {
            let missing = set.layouts.missing().map(|name| format!("layouts/{name}.hbs"));
            problems.extend(missing.map(|path| problem(&path, (0, "layout", "is missing".into()))));
        }
        for (tag, lists) in std::mem::take(&mut set.lints) {
            if let Some(locale) = set.locales.get_mut(&tag) {
                locale.lint = lists;
            }
        }
        set.files = files;
        for file in set.words.values() {
            if !set.locales.contains_key(base(&file.locale)) && !set.locales.contains_key(&file.locale) {
                let message = format!("there is no templates/locales/{}.toml", base(&file.locale));
                problems.push(shown(&file.path, (0, "locale", message)));
            }
            let partials = set.partials_of(&file.parts, &file.locale);
            let guard =
                Guard { clearance: set.clearance(&file.audience), occasion: file.occasion, partials: &partials };
            for (name, (_, template)) in &file.parts {
                problems.extend(guard.check(name, template).into_iter().map(|found| shown(&file.path, found)));
            }
        }
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        problems.dedup();
        if problems.is_empty() { Ok(set) } else { Err(problems) }
    }

    fn add(&mut self, path: &str, text: &str) -> Result<(), Vec<Found>> {
        match path.split('/').collect::<Vec<_>>()[..] {
            ["locales", file] => {
                let Some(tag) = file.strip_suffix(".toml") else { return Ok(()) };
                let locale = Locale::parse(tag, text).map_err(|error| vec![misread(text, &error)])?;
                self.locales.insert(tag.into(), locale);
            }
            ["lint", file] => {
                let Some(tag) = file.strip_suffix(".toml") else { return Ok(()) };
                let lists = toml::from_str(text).map_err(|error| vec![misread(text, &error)])?;
                self.lints.insert(tag.into(), lists);
            }
            ["layouts", file] => {
                let Some(name) = file.strip_suffix(".hbs") else { return Ok(()) };
                self.layouts.add(name, text).map_err(|found| vec![found])?;
            }
            ["partials", file] => {
                let Some((name, locale)) = name_and_locale(file) else { return Ok(()) };
                // A file ends with a line's end, which no sentence is to be broken by.
                let template = parse::parse(text.trim_end()).map_err(|found| vec![found])?;
                self.partials.insert((name.into(), locale.into()), template);
            }
            [audience, file] => {
                let Some((name, locale)) = name_and_locale(file) else { return Ok(()) };
                let Ok(occasion) = name.parse::<Occasion>() else {
                    let hint = nearest(name, Occasion::ALL.iter().map(|o| o.word().to_string()));
                    let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                    return Err(vec![(0, "occasion", format!("{name} is no occasion{hint}"))]);
                };
                let file = File {
                    path: format!("templates/{path}"),
                    audience: audience.into(),
                    occasion,
                    locale: locale.into(),
                    parts: parse::parts(text)?,
                };
                self.words.insert((audience.into(), occasion, locale.into()), file);
            }
            _ => {}
        }
        Ok(())
    }
}

fn misread(text: &str, error: &toml::de::Error) -> Found {
    let line = error.span().map_or(1, |span| parse::line_at(text, span.start.min(text.len())));
    (line, "locale", error.message().into())
}

pub(super) fn embedded_texts() -> BTreeMap<String, String> {
    let read = |path: &str| Some(String::from_utf8_lossy(&Embedded::get(path)?.data).into_owned());
    Embedded::iter().filter_map(|path| Some((path.to_string(), read(&path)?))).collect()
}

fn name_and_locale(file: &str) -> Option<(&str, &str)> {
    let name = file.strip_suffix(".hbs")?;
    Some(name.split_once('.').unwrap_or((name, FALLBACK_LOCALE)))
}

fn problem(path: &str, found: Found) -> Problem {
    shown(&format!("templates/{path}"), found)
}

fn shown(file: &str, (line, check, message): Found) -> Problem {
    Problem { file: file.into(), line, level: Level::Block, check, message }
}

/// Two levels of folders; symbolic links are followed, as mounted configuration needs.
fn read_directory(directory: &Path, below: &str, texts: &mut BTreeMap<String, String>) -> Result<(), Vec<Problem>> {
    let unreadable = |path: &Path, error: std::io::Error| {
        vec![Problem {
            file: path.display().to_string(),
            line: 0,
            level: Level::Block,
            check: "file",
            message: error.to_string(),
        }]
    };
    for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        if path.is_dir() {
            if below.is_empty() {
                read_directory(&path, &format!("{name}/"), texts)?;
            }
        } else if name.ends_with(".hbs") || name.ends_with(".toml") {
            let size = path.metadata().map_err(|error| unreadable(&path, error))?.len();
            if size > parse::LARGEST_FILE as u64 {
                let message = format!("{size} bytes; a template has at most {}", parse::LARGEST_FILE);
                return Err(vec![Problem {
                    file: path.display().to_string(),
                    line: 0,
                    level: Level::Block,
                    check: "size",
                    message,
                }]);
            }
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            texts.insert(format!("{below}{name}"), text);
        }
    }
    Ok(())
}
