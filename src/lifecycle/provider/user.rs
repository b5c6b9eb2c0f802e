//! The user that a process runs as.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User as Entry, getegid, geteuid, getgrouplist};

/// A user with its groups, looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: Uid,
    /// Its main group.
    pub gid: Gid,
    /// All its groups.
    pub groups: Vec<Gid>,
    /// What the user database says of it; `None` for numbers alone.
    pub account: Option<Account>,
}

/// What a program can ask its environment about its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// For USER and LOGNAME.
    pub name: String,
    /// For HOME.
    pub home: PathBuf,
}

/// Why a process cannot run as a user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no user of this name.
    #[error("there is no user `{0}` on this host: create it, or write numbers, like `\"1000:1000\"`")]
    Unknown(Box<str>),
    /// A number that no user has, without a group.
    #[error("no user has the number {0}, so its group is not known: write it too, like `\"{0}:{0}\"`")]
    NoGroup(Uid),
    /// Only root can become somebody else.
    #[error(
        "cannot run as `{0}`: tidegate itself does not run as root; run it as root, or as that user and without `user`"
    )]
    NotRoot(Box<str>),
    /// tidegate is root, and may not change users all the same.
    #[error(
        "cannot run as `{0}`: tidegate is root without the right to change users; give it CAP_SETUID and CAP_SETGID"
    )]
    NotPermitted(Box<str>),
    /// The user database cannot be asked.
    #[error("cannot look up the user `{user}`: {source}")]
    Lookup {
        /// The user.
        user: Box<str>,
        /// What the system said.
        source: Errno,
    },
}

impl User {
    /// Looks up a name, a number, or `UID:GID`. May block on the user database; `None` where tidegate runs as this user already and
    /// could not change its groups.
    ///
    /// # Errors
    /// When there is no such user, or tidegate cannot become it.
    pub fn look_up(user: &str) -> Result<Option<Self>, UserError> {
        let failed = |source| UserError::Lookup { user: user.into(), source };
        let found = match user.split_once(':') {
            Some((uid, gid)) => {
                let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
                    return Err(UserError::Unknown(user.into()));
                };
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                let account = Entry::from_uid(uid).map_err(failed)?.map(Account::from);
                // As `docker run --user`: who names a group has no others.
                Self { uid, gid, groups: vec![gid], account }
            }
            None => {
                let number: Option<u32> = user.parse().ok();
                let entry = match number {
                    Some(number) => Entry::from_uid(Uid::from_raw(number)),
                    None => Entry::from_name(user),
                };
                let Some(entry) = entry.map_err(failed)? else {
                    return Err(number.map_or_else(
                        || UserError::Unknown(user.into()),
                        |number| UserError::NoGroup(Uid::from_raw(number)),
                    ));
                };
                let name = CString::new(entry.name.as_str()).expect("a name from a C string");
                let groups = getgrouplist(&name, entry.gid).map_err(failed)?;
                Self { uid: entry.uid, gid: entry.gid, groups, account: Some(entry.into()) }
            }
        };
        if geteuid().is_root() {
            return Ok(Some(found));
        }
        if (found.uid, found.gid) == (geteuid(), getegid()) {
            return Ok(None);
        }
        Err(UserError::NotRoot(user.into()))
    }
}

impl From<Entry> for Account {
    fn from(entry: Entry) -> Self {
        Self { name: entry.name, home: entry.dir }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_pairs_are_looked_up() {
        if !geteuid().is_root() {
            let error = User::look_up("root").expect_err("not root").to_string();
            assert!(error.contains("`root`") && error.contains("run it as root"), "{error}");
            return;
        }
        let root = User::look_up("root").expect("every host has root").expect("another user is possible");
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert!(root.groups.contains(&root.gid));
        assert_eq!(root.account.as_ref().map(|account| account.name.as_str()), Some("root"));
        assert_eq!(User::look_up("0").expect("root has a number"), Some(root));
        let pair = User::look_up("123456:654321").expect("numbers need no entry").expect("another user");
        let groups: Vec<u32> = pair.groups.iter().map(|group| group.as_raw()).collect();
        assert_eq!((pair.uid.as_raw(), groups, pair.account), (123_456, vec![654_321], None));
    }

    #[test]
    fn who_does_not_exist_is_named_with_a_cure() {
        for (user, said) in [
            ("tidegate-nobody-has-this", "there is no user `tidegate-nobody-has-this`"),
            ("a:b", "there is no user `a:b`"),
            ("4000000001", "`\"4000000001:4000000001\"`"),
        ] {
            let error = User::look_up(user).expect_err("no such user").to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn oneself_needs_no_change() {
        let own = format!("{}:{}", geteuid(), getegid());
        assert_eq!(User::look_up(&own).expect("it is us").is_some(), geteuid().is_root());
    }
}
