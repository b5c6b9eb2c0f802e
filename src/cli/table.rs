//! Rows and columns on standard output.

use std::io::{self, Write};

/// Prints rows below headings, columns as wide as their widest cell; those whose heading ends in `>` are flush right.
pub(super) fn print(headings: &[&str], rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let right: Vec<bool> = headings.iter().map(|heading| heading.ends_with('>')).collect();
    let headings: Vec<String> = headings.iter().map(|heading| heading.trim_end_matches('>').to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let all = || std::iter::once(&headings).chain(&rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in all() {
        let cells = row.iter().zip(&widths).zip(&right).map(|((cell, &width), &right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Without control characters, which files and backends may have put into a text, and which a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// `33.33%`.
pub(super) fn percent(weight: f64) -> String {
    format!("{}%", (weight * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let mut out = Vec::new();
        let rows = [
            vec!["shop-001".to_owned(), "5%".to_owned(), "a\u{1b}b".to_owned()],
            vec!["x".to_owned(), "100%".to_owned(), String::new()],
        ];
        print(&["VERSION", "WEIGHT>", "REMARK"], &rows, &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "VERSION   WEIGHT  REMARK\nshop-001      5%  a b\nx           100%\n");
    }
}
