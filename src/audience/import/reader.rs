//! From a record to a Row, or the reason why not. A reason names the column, never the value: values are people's addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::column::{Column, Given, NAMES};
use super::draft::Draft;
use super::split::Cells;
use super::{Options, Row};

/// Reads records one after the other; of CSV, the first is the header.
pub struct Reader {
    pub(super) options: Options,
    header: Option<(Vec<Column>, Given)>,
    /// Zones that were looked up and found: few, in however many rows.
    pub(super) zones: BTreeMap<String, String>,
}

pub(super) type Refused = String;

impl Reader {
    pub fn new(options: Options) -> Reader {
        Reader { options, header: None, zones: BTreeMap::new() }
    }

    pub fn has_header(&self) -> bool {
        self.header.is_some()
    }

    pub fn header(&mut self, cells: &Cells) -> Result<(), Refused> {
        let mut columns: Vec<Column> = Vec::new();
        let mut given = Given::default();
        let mut kinds = BTreeSet::new();
        for (at, cell) in cells.iter().enumerate() {
            let name = std::str::from_utf8(cell).map_err(|_| "the header is not UTF-8".to_string())?;
            let name = if at == 0 { name.trim_start_matches('\u{feff}') } else { name }.trim();
            if cells.len() == 1 && name.contains([';', '\t']) {
                return Err("the columns are not separated by commas".into());
            }
            let column = self.column(name)?;
            if columns.contains(&column) {
                return Err(format!("column {name:?} is there twice"));
            }
            if let Column::Address(kind) = &column {
                kinds.insert(kind.clone());
            }
            given.note(&column);
            columns.push(column);
        }
        if !given.has(&Column::Key) && kinds.is_empty() {
            return Err(format!("the file has no address: no column {}", self.kinds().join(", ")));
        }
        self.default_audience(&given)?;
        given.kinds = Some(Arc::new(kinds));
        self.header = Some((columns, given));
        Ok(())
    }

    /// Where a file names no audiences, the options must: nobody would ever be told.
    fn default_audience(&self, given: &Given) -> Result<(), Refused> {
        match given.has(&Column::Audiences) || self.options.audience.is_some() {
            true => Ok(()),
            false => Err("no audiences: add a column (or key) audiences, or name one for all rows (--audience)".into()),
        }
    }

    fn column(&self, name: &str) -> Result<Column, Refused> {
        if let Some((_, column)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(column.clone());
        }
        let (kind, verified) = match name.strip_suffix("_verified") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        if self.options.validators.contains_key(kind) {
            let kind = kind.to_string();
            return Ok(if verified { Column::Verified(kind) } else { Column::Address(kind) });
        }
        let verified: Vec<String> = self.kinds().iter().map(|kind| format!("{kind}_verified")).collect();
        let all = NAMES.iter().map(|(name, _)| *name).chain(self.kinds()).chain(verified.iter().map(String::as_str));
        let all: Vec<&str> = all.chain(["addresses"]).collect();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let nearest = all.iter().map(|known| (strsim::damerau_levenshtein(known, &shown), known)).min();
        let nearest = nearest.map(|(_, known)| format!("; did you mean {known:?}?")).unwrap_or_default();
        Err(format!("unknown column {shown:?}{nearest}"))
    }

    pub fn cells(&mut self, cells: &Cells) -> Result<Row, Refused> {
        let Some((columns, given)) = self.header.take() else { return Err("there is no header".into()) };
        let row = self.with_columns(cells, &columns, &given);
        self.header = Some((columns, given));
        row
    }

    fn with_columns(&mut self, cells: &Cells, columns: &[Column], given: &Given) -> Result<Row, Refused> {
        if cells.len() != columns.len() {
            return Err(format!("the row has {} columns, and the header {}", cells.len(), columns.len()));
        }
        let mut draft = Draft::new(&self.options);
        for (column, cell) in columns.iter().zip(cells.iter()) {
            let text = std::str::from_utf8(cell).map_err(|_| format!("{}: is not UTF-8", column.name()))?.trim();
            if !text.is_empty() {
                self.text(&mut draft, column, text).map_err(|why| format!("{}: {why}", column.name()))?;
            }
        }
        self.finish(draft, given.clone())
    }

    pub fn line(&mut self, line: &[u8]) -> Result<Row, Refused> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            let (error, column) = (error.to_string(), error.column());
            format!("not JSON at column {column}: {}", error.split(" at line").next().unwrap_or_default())
        })?;
        let Value::Object(object) = value else { return Err("not a JSON object".into()) };
        let mut draft = Draft::new(&self.options);
        let mut given = Given::default();
        let mut kinds = BTreeSet::new();
        let mut all = false;
        for (name, value) in object {
            if name == "addresses" {
                all = true;
                self.addresses(&mut draft, value).map_err(|why| format!("addresses: {why}"))?;
                continue;
            }
            let column = self.column(&name)?;
            if let Column::Address(kind) = &column {
                kinds.insert(kind.clone());
            }
            given.note(&column);
            self.value(&mut draft, &column, value).map_err(|why| format!("{name}: {why}"))?;
        }
        self.default_audience(&given)?;
        given.kinds = (!all).then(|| Arc::new(kinds));
        self.finish(draft, given)
    }

    pub(super) fn kinds(&self) -> Vec<&str> {
        self.options.validators.keys().map(String::as_str).collect()
    }
}
