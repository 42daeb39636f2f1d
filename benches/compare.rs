//! Legs, and how sides are compared: in turn, A B B A or A B C C B A, and by the median over neighbours.

use anyhow::Context;
use serde_json::{Map, Value, json};

/// One side, once.
#[derive(Debug, Clone, Copy)]
pub struct Leg {
    pub seconds: f64,
    /// Of the measured process, user and system.
    pub cpu: f64,
    pub count: u64,
}

impl Leg {
    /// What a role answered.
    pub fn read(ended: &Value, count: u64) -> anyhow::Result<Leg> {
        let number = |name: &str| ended[name].as_f64().with_context(|| format!("{name} in {ended}"));
        Ok(Leg { seconds: number("seconds")?, cpu: number("cpu")?, count })
    }

    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    pub fn cpu_micros(&self) -> f64 {
        self.cpu * 1e6 / self.count as f64
    }
}

/// A side: its name, and how one leg of it is run.
pub type Side<'a> = (&'a str, Box<dyn FnMut() -> anyhow::Result<Leg> + 'a>);

/// The legs of each side, in the order in which the sides were given: there and back, round after round. The first side and any
/// other are neighbours, or as near as all others are.
pub struct Legs(Vec<(String, Vec<Leg>)>);

pub fn alternate(rounds: usize, mut sides: Vec<Side<'_>>) -> anyhow::Result<Legs> {
    let mut legs: Vec<_> = sides.iter().map(|(name, _)| (name.to_string(), Vec::new())).collect();
    for _ in 0..rounds.max(1) {
        let there = 0..sides.len();
        for at in there.clone().chain(there.rev()) {
            let (name, run) = &mut sides[at];
            legs[at].1.push(run().with_context(|| format!("a leg of the {name}"))?);
        }
    }
    Ok(Legs(legs))
}

impl Legs {
    pub fn of(&self, name: &str) -> &[Leg] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, legs)| legs)
    }

    /// The median over the rates of a side.
    pub fn rate(&self, name: &str) -> f64 {
        median(self.of(name).iter().map(Leg::rate))
    }

    pub fn cpu_micros(&self, name: &str) -> f64 {
        median(self.of(name).iter().map(Leg::cpu_micros))
    }

    /// By pairs: how much of the other's rate one side reaches.
    pub fn ratio(&self, one: &str, other: &str) -> f64 {
        median(self.of(one).iter().zip(self.of(other)).map(|(one, other)| one.rate() / other.rate()))
    }

    /// By pairs: the other's processor time a message, of that of one.
    pub fn cpu_ratio(&self, one: &str, other: &str) -> f64 {
        median(self.of(one).iter().zip(self.of(other)).map(|(one, other)| other.cpu_micros() / one.cpu_micros()))
    }

    /// Every leg, as it was.
    pub fn raw(&self) -> Value {
        let each = |(name, legs): &(String, Vec<Leg>)| {
            let per_s: Vec<f64> = legs.iter().map(|leg| leg.rate().round()).collect();
            let cpu_us: Vec<f64> = legs.iter().map(|leg| round(leg.cpu_micros(), 2)).collect();
            (name.clone(), json!({ "per_s": per_s, "cpu_us": cpu_us }))
        };
        Value::Object(self.0.iter().map(each).collect::<Map<_, _>>())
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Of sorted values, the one that this share of them does not exceed.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

pub fn round(value: f64, digits: i32) -> f64 {
    (value * 10f64.powi(digits)).round() / 10f64.powi(digits)
}
