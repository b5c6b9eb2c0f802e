//! Entries and items within braces and brackets.

use super::lines;
use crate::config::source::Span;

/// One more at the end. `whole` is from bracket to bracket.
pub(super) fn add(text: &str, whole: Span, children: &[Span], new: &str) -> Option<String> {
    let with = |at: usize, new: &str| format!("{}{new}{}", &text[..at], &text[at..]);
    let Some(last) = children.last() else { return Some(with(whole.start + 1, new)) };
    let begin = lines::start(text, last.start);
    let line_end = lines::end(text, last.end);
    if !stands_alone(text, whole, *last) || !lines::is_blank(&text[begin..last.start]) {
        return Some(with(last.end, &format!(", {new}")));
    }
    let (indentation, ending) = (&text[begin..last.start], lines::ending(text));
    let rest = &text[last.end..line_end];
    let comma = if rest.trim_start().starts_with(',') { "" } else { "," };
    Some(format!("{}{comma}{rest}{ending}{indentation}{new}{}", &text[..last.end], &text[line_end..]))
}

/// Without one of them.
pub(super) fn remove(text: &str, whole: Span, children: &[Span], at: usize) -> Option<String> {
    let child = children[at];
    let without = |start: usize, end: usize| Some(format!("{}{}", &text[..start], &text[end..]));
    if stands_alone(text, whole, child) {
        return without(lines::start(text, child.start), lines::next(text, child.end));
    }
    let after = &text[child.end..];
    let behind = child.end + (after.len() - after.trim_start_matches([' ', '\t']).len());
    let comma_behind = text[behind..].starts_with(',');
    match at.checked_sub(1).map(|before| children[before]) {
        Some(_) => {
            let before = text[..child.start].trim_end_matches([' ', '\t', '\r', '\n']);
            before.ends_with(',').then(|| without(before.len() - 1, child.end))?
        }
        None if comma_behind => {
            let rest = text[behind + 1..].trim_start_matches([' ', '\t']);
            // With the next one on the next line, that line stays as it is.
            without(child.start, text.len() - rest.len())
        }
        None => without(child.start, child.end),
    }
}

/// Whether nothing else is on its lines but a comma and a comment, and neither bracket is.
fn stands_alone(text: &str, whole: Span, child: Span) -> bool {
    let (begin, end) = (lines::start(text, child.start), lines::end(text, child.end));
    let rest = text[child.end..end].trim_start_matches([' ', '\t']);
    let idle = match rest.strip_prefix(',') {
        Some(behind) => lines::is_idle(behind),
        None => lines::is_idle(&text[child.end..end]),
    };
    whole.start < begin && end < whole.end && idle && lines::is_blank(&text[begin..child.start])
}
