//! Words: templates into messages. A message is rendered once for a broadcast, language, zone and format, and cut into
//! segments and fields; a recipient costs only the fields.

pub mod message;
