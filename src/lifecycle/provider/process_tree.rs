//! Who descends from a process, read from `/proc`.
//!
//! A supervisor is a subreaper, so whatever its program starts stays below it in the tree, also after `setsid` and after the
//! parent in between has died.

use std::collections::HashSet;
use std::{fs, io};

use nix::unistd::Pid;

/// A process below another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descendant {
    /// Its process id.
    pub pid: Pid,
    /// Its process group.
    pub group: Pid,
}

/// All living descendants of `ancestor`, without itself and without zombies. A picture of one moment: what forks meanwhile may be missing.
///
/// # Errors
/// When `/proc` cannot be listed. A process that ends while being looked at is left out.
pub fn descendants(ancestor: Pid) -> io::Result<Vec<Descendant>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            rows.extend(parse_stat(pid, &stat));
        }
    }
    Ok(below(ancestor, &rows))
}

/// The children of a process, from the lists that its threads have (a kernel with `CONFIG_PROC_CHILDREN`; none elsewhere). Costs a
/// read per thread and not one per process of the host, but what ends meanwhile can make others be left out.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let numbers =
        lists.flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>());
    numbers.map(Pid::from_raw).collect()
}

/// A row of the process table.
struct Row {
    pid: Pid,
    parent: Pid,
    group: Pid,
    zombie: bool,
}

/// Reads a line of `/proc/PID/stat`: `pid (name) state ppid pgrp ...`, where the name may itself hold spaces and parentheses.
fn parse_stat(pid: i32, stat: &str) -> Option<Row> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Row {
        pid: Pid::from_raw(pid),
        parent: Pid::from_raw(parent),
        group: Pid::from_raw(group),
        zombie: matches!(state, "Z" | "X"),
    })
}

fn below(ancestor: Pid, rows: &[Row]) -> Vec<Descendant> {
    let mut family = HashSet::from([ancestor]);
    // Process ids wrap around, so a child may stand before its parent: go over the table until nobody is added.
    loop {
        let size = family.len();
        family.extend(rows.iter().filter(|row| family.contains(&row.parent)).map(|row| row.pid).collect::<Vec<_>>());
        if family.len() == size {
            break;
        }
    }
    rows.iter()
        .filter(|row| row.pid != ancestor && !row.zombie && family.contains(&row.pid))
        .map(|row| Descendant { pid: row.pid, group: row.group })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_parser() {
        let row = parse_stat(7, "7 (a) S 1 (b)) S 3 5 5 0 -1").expect("the line is well formed");
        assert_eq!((row.parent.as_raw(), row.group.as_raw(), row.zombie), (3, 5, false));
        assert!(parse_stat(7, "7 (cut").is_none());
    }

    #[test]
    fn grandchildren_count_whatever_their_order_and_strangers_do_not() {
        let row = |pid, parent, zombie| Row {
            pid: Pid::from_raw(pid),
            parent: Pid::from_raw(parent),
            group: Pid::from_raw(pid),
            zombie,
        };
        let rows = [row(2, 9, false), row(3, 1, false), row(9, 5, false), row(5, 1, false), row(6, 5, true)];
        let found: Vec<i32> = below(Pid::from_raw(5), &rows).iter().map(|found| found.pid.as_raw()).collect();
        assert_eq!(found, [2, 9]);
    }
}
