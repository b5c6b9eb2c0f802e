//! A text as lines: where they begin and end, whatever their line ends are.

/// Where the line of a byte begins.
pub(super) fn start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line of a byte ends, before its line break.
pub(super) fn end(text: &str, at: usize) -> usize {
    let newline = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    if newline < text.len() && newline > at && text.as_bytes()[newline - 1] == b'\r' { newline - 1 } else { newline }
}

/// Where the next line begins; the end of the text if there is none.
pub(super) fn next(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// The line break of the file: that of its first line.
pub(super) fn ending(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if at > 0 && text.as_bytes()[at - 1] == b'\r' => "\r\n",
        _ => "\n",
    }
}

/// Whether there is nothing in this part of a line, or only a comment, for which a space has to come first.
pub(super) fn is_idle(rest: &str) -> bool {
    let trimmed = rest.trim_start_matches([' ', '\t']);
    trimmed.trim_end_matches('\r').is_empty() || (trimmed.starts_with('#') && trimmed.len() < rest.len())
}

/// Whether a line has only a comment on it.
pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start_matches([' ', '\t']).starts_with('#')
}

/// How many spaces a line begins with.
pub(super) fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether there are only spaces.
pub(super) fn is_blank(part: &str) -> bool {
    part.bytes().all(|byte| byte == b' ')
}
