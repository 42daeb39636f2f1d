//! What goes into a statement and what comes out of a row. A number is written in the width of its column, and read back with its
//! range checked.

use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::store::{Result, StoreError};

#[derive(Debug, Clone)]
pub enum Value<'a> {
    Null,
    Number(i64),
    Flag(bool),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Numbers(Vec<Option<i64>>),
    Flags(Vec<bool>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Vec<u8>>),
}

/// Values for a statement, in the order of its parameters.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::postgres::value::Value::from($value)),*] };
}
pub(super) use values;

type Wrong = Box<dyn Error + Sync + Send>;

/// PostgreSQL keeps no text with a zero byte, which a platform's answer may well have.
fn clean(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}").into(),
        false => text.into(),
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Wrong> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Number(n) => match *ty {
                Type::INT2 => i16::try_from(*n)?.to_sql(ty, out),
                Type::INT4 => i32::try_from(*n)?.to_sql(ty, out),
                _ => n.to_sql(ty, out),
            },
            Value::Flag(flag) => flag.to_sql(ty, out),
            Value::Text(text) => clean(text).as_ref().to_sql(ty, out),
            Value::Bytes(bytes) => bytes.as_ref().to_sql(ty, out),
            Value::Numbers(numbers) => numbers.to_sql(ty, out),
            Value::Flags(flags) => flags.to_sql(ty, out),
            Value::Texts(texts) => {
                let texts: Vec<Option<Cow<'_, str>>> = texts.iter().map(|text| text.as_deref().map(clean)).collect();
                texts.to_sql(ty, out)
            }
            Value::Blobs(blobs) => blobs.to_sql(ty, out),
        }
    }

    /// One type stands for all; what is of another kind than its parameter the server refuses.
    fn accepts(ty: &Type) -> bool {
        const KNOWN: &[Type] = &[
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::BOOL,
            Type::TEXT,
            Type::BYTEA,
            Type::INT8_ARRAY,
            Type::BOOL_ARRAY,
            Type::TEXT_ARRAY,
            Type::BYTEA_ARRAY,
        ];
        KNOWN.contains(ty)
    }

    to_sql_checked!();
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Value<'_> {
            fn from(n: $kind) -> Self {
                Value::Number(n.into())
            }
        }
        impl Column for $kind {
            fn read(row: &Row, column: usize) -> Result<$kind> {
                let Number(n) = row.column(column)?;
                <$kind>::try_from(n).map_err(|_| damaged(column, "is out of range"))
            }
        }
    )*};
}

numbers!(i64, i32, u32, u16, u8);

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text.into())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes.into())
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Value::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(bytes.into())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().into()
    }
}

impl From<Vec<i64>> for Value<'_> {
    fn from(numbers: Vec<i64>) -> Self {
        Value::Numbers(numbers.into_iter().map(Some).collect())
    }
}

impl From<Vec<bool>> for Value<'_> {
    fn from(flags: Vec<bool>) -> Self {
        Value::Flags(flags)
    }
}

impl From<Vec<String>> for Value<'_> {
    fn from(texts: Vec<String>) -> Self {
        Value::Texts(texts.into_iter().map(Some).collect())
    }
}

impl From<Vec<Option<String>>> for Value<'_> {
    fn from(texts: Vec<Option<String>>) -> Self {
        Value::Texts(texts)
    }
}

impl From<Vec<Vec<u8>>> for Value<'_> {
    fn from(blobs: Vec<Vec<u8>>) -> Self {
        Value::Blobs(blobs)
    }
}

/// A row that was read.
pub struct Row(pub tokio_postgres::Row);

impl Row {
    pub fn get<T: Column>(&self, column: usize) -> Result<T> {
        T::read(self, column)
    }

    fn column<'a, T: FromSql<'a>>(&'a self, column: usize) -> Result<T> {
        self.0.try_get(column).map_err(|error| damaged(column, &error.to_string()))
    }

    pub fn bytes(&self, column: usize) -> Result<&[u8]> {
        self.column(column)
    }
}

pub fn damaged(column: usize, why: &str) -> StoreError {
    StoreError::Failed(format!("a row of the store does not read: column {column} {why}"))
}

pub trait Column: Sized {
    fn read(row: &Row, column: usize) -> Result<Self>;
}

/// A number of any width.
pub struct Number(pub i64);

impl<'a> FromSql<'a> for Number {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Number, Wrong> {
        match *ty {
            Type::INT2 => i16::from_sql(ty, raw).map(|n| Number(n.into())),
            Type::INT4 => i32::from_sql(ty, raw).map(|n| Number(n.into())),
            _ => i64::from_sql(ty, raw).map(Number),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT2 | Type::INT4 | Type::INT8)
    }
}

impl Column for bool {
    fn read(row: &Row, column: usize) -> Result<bool> {
        row.column(column)
    }
}

impl Column for String {
    fn read(row: &Row, column: usize) -> Result<String> {
        row.column(column)
    }
}

impl Column for Vec<u8> {
    fn read(row: &Row, column: usize) -> Result<Vec<u8>> {
        row.column(column)
    }
}

impl Column for Option<i64> {
    fn read(row: &Row, column: usize) -> Result<Option<i64>> {
        Ok(row.column::<Option<Number>>(column)?.map(|Number(n)| n))
    }
}

impl Column for Option<String> {
    fn read(row: &Row, column: usize) -> Result<Option<String>> {
        row.column(column)
    }
}
