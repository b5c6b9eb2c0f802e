//! The variables that a program has besides tidegate's own.
//!
//! They reach it through its supervisor's control socket, not through the environment or the arguments of the supervisor: that one
//! may be root where the program is not, and would take LD_PRELOAD for itself; arguments are for everybody to read.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use crate::lifecycle::provider::user::Account;
use crate::model::name::VersionName;
use crate::model::version::ProcessSpec;

/// The variables as `tidegate supervise --environment` reads them: the length in bytes (32 bits, little endian) and then each as
/// `NAME=value` with a NUL at its end. The later one of two counts.
///
/// # Errors
/// When a variable has a NUL byte in it.
pub(super) fn environment(
    version: &VersionName,
    spec: &ProcessSpec,
    account: Option<&Account>,
    port: u16,
) -> io::Result<Vec<u8>> {
    let mut block = Block(vec![0; size_of::<u32>()]);
    if let Some(Account { name, home }) = account {
        // As systemd sets them; `env` may say otherwise.
        block.set("HOME", home.as_os_str())?;
        block.set("USER", name.as_ref())?;
        block.set("LOGNAME", name.as_ref())?;
    }
    for (name, value) in &spec.env {
        block.set(name, value.as_ref())?;
    }
    block.set("PORT", port.to_string().as_ref())?;
    block.set("TIDEGATE_VERSION", version.as_str().as_ref())?;
    block.finished()
}

struct Block(Vec<u8>);

impl Block {
    fn set(&mut self, name: &str, value: &OsStr) -> io::Result<()> {
        let start = self.0.len();
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value.as_bytes());
        if self.0[start..].contains(&0) {
            let why = format!("the variable `{}` has a NUL byte in it", name.replace('\0', "\\0"));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.0.push(0);
        Ok(())
    }

    fn finished(mut self) -> io::Result<Vec<u8>> {
        let (length, variables) = self.0.split_at_mut(size_of::<u32>());
        let bytes = u32::try_from(variables.len()).map_err(|_| io::ErrorKind::ArgumentListTooLong)?;
        length.copy_from_slice(&bytes.to_le_bytes());
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::ServiceName;

    fn of(env: &[(&str, &str)], account: Option<&Account>) -> io::Result<Vec<u8>> {
        let version = VersionName::numbered(&ServiceName::new("shop").expect("a name"), 1);
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = ProcessSpec { command: Box::new(["true".to_owned()]), env, cwd: None, user: None };
        environment(&version, &spec, account, 20_000)
    }

    #[test]
    fn the_versions_own_come_after_its_users_and_before_tidegates() {
        let account = Account { name: "shop".to_owned(), home: "/srv".into() };
        let block = of(&[("HOME", "/a=b")], Some(&account)).expect("no NUL");
        let said = "HOME=/srv\0USER=shop\0LOGNAME=shop\0HOME=/a=b\0PORT=20000\0TIDEGATE_VERSION=shop-001\0";
        assert_eq!(block[..4], u32::try_from(said.len()).expect("short").to_le_bytes());
        assert_eq!(&block[4..], said.as_bytes());
    }

    #[test]
    fn a_nul_byte_smuggles_no_other_variable_in() {
        let error = of(&[("A", "b\0LD_PRELOAD=/evil.so")], None).expect_err("a NUL").to_string();
        assert!(error.contains("`A` has a NUL byte"), "{error}");
    }
}
