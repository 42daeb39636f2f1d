//! Closed sets of words: an enum that has one word for each variant, the same in files, events, the store and on pages.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $(#[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> std::result::Result<Self, String> {
                $name::ALL.iter().copied().find(|w| w.word() == text).ok_or_else(|| {
                    let words: Vec<&str> = $name::ALL.iter().map(|w| w.word()).collect();
                    format!("{text:?} is none of {}", words.join(" "))
                })
            }
        }
    };
}
pub(crate) use words;
