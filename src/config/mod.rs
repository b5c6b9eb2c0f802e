//! From the YAML that people write to a snapshot, or to every error there is.
//!
//! Reading goes through four rooms: [`source`] (a file's text), [`tree`] (its values, each with its place), [`decode`] (the tree
//! into the structs of [`mod@file`], noting every error) and [`compile`] (those into the model). [`load()`](load::load) does it for all
//! files, again and again. [`diagnostic`] is what comes out
//! where something is wrong.

mod claims;
pub mod compile;
pub mod decode;
pub mod diagnostic;
pub mod edit;
pub mod file;
pub mod home;
pub mod load;
pub mod source;
pub mod spanned;
mod stamp;
pub mod tree;
pub mod units;

use std::path::{Path, PathBuf};

/// Where tidegate.yaml is looked for when nobody says, in order.
pub const DEFAULT_FILES: [&str; 2] = ["config/tidegate.yaml", "/etc/tidegate/tidegate.yaml"];

/// The given file, else the first of [`DEFAULT_FILES`] that is there, else the first, to be missed by its name.
pub fn root_file(given: Option<&Path>) -> PathBuf {
    let default = || DEFAULT_FILES.iter().find(|path| Path::new(path).exists()).unwrap_or(&DEFAULT_FILES[0]);
    given.map_or_else(|| PathBuf::from(default()), Path::to_owned)
}
