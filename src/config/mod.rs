//! From the YAML that people write to a snapshot, or to every error there is.
//!
//! Reading goes through four rooms: [`source`] (a file's text), [`tree`] (its values, each with its place), [`decode`] (the tree
//! into the structs of [`file`], noting every error) and `compile` (those into the model). [`diagnostic`] is what comes out
//! where something is wrong.

mod claims;
pub mod compile;
pub mod decode;
pub mod diagnostic;
pub mod file;
pub mod load;
pub mod source;
pub mod spanned;
mod stamp;
pub mod tree;
pub mod units;
