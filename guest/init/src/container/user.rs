//! Who the program is run as, by the container's own lists of users and groups.

use std::fs;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// The lists.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// Where a user is at home that no list has.
const NO_HOME: &str = "/";

/// A user of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// The numbers of all its groups, that one first.
    pub groups: Vec<u32>,
    /// Its home.
    pub home: String,
}

impl User {
    /// Finds `wanted`, which is `USER` or `USER:GROUP`, each a name or a number; nothing is root. A number need not be in a list.
    pub fn find(wanted: &str) -> Result<Self> {
        let list = |path| match fs::read(Path::new(path)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            // An image may do without lists.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).context("read the container's", path),
        };
        Self::find_in(wanted, &list(USERS)?, &list(GROUPS)?)
    }

    fn find_in(wanted: &str, users: &str, groups: &str) -> Result<Self> {
        let (user, group) = match wanted.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (wanted, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        // NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL
        let entry = users.lines().map(fields).find(|entry| is_called(entry, user));
        let entry_number = |index: usize| entry.as_ref().and_then(|entry| entry.get(index)).and_then(|field| id(field));
        let uid = id(user).or_else(|| entry_number(2)).ok_or_else(|| unknown("user", user, USERS))?;
        let home = entry.as_ref().and_then(|entry| entry.get(5)).filter(|home| !home.is_empty()).map_or(NO_HOME, |home| home);
        // NAME:PASSWORD:GID:MEMBER,MEMBER
        let mut groups = groups.lines().map(fields);
        let (gid, groups) = match group {
            Some(group) => {
                let listed = || groups.find(|entry| is_called(entry, group)).and_then(|entry| id(entry.get(2)?));
                (id(group).or_else(listed).ok_or_else(|| unknown("group", group, GROUPS))?, Vec::new())
            }
            None => {
                let name = entry.as_ref().map(|entry| entry[0]);
                let has = |entry: &Vec<&str>| entry.get(3).is_some_and(|members| members.split(',').any(|member| Some(member) == name));
                (entry_number(3).unwrap_or(0), groups.filter(has).filter_map(|entry| id(entry.get(2)?)).collect())
            }
        };
        // Of programs that look at the list alone, some forget the group that is not in it.
        let groups: Vec<u32> = std::iter::once(gid).chain(groups.into_iter().filter(|other| *other != gid)).collect();
        Ok(Self { uid, gid, groups, home: home.to_owned() })
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

/// Whether a list's entry is the one that was asked for. What is a number is never a name.
fn is_called(entry: &[&str], wanted: &str) -> bool {
    match id(wanted) {
        Some(number) => entry.get(2).is_some_and(|field| id(field) == Some(number)),
        None => entry[0] == wanted,
    }
}

/// A number of a user or a group. The highest means none to the kernel.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn unknown(what: &'static str, name: &str, list: &'static str) -> Error {
    Error::Unknown { what, name: name.to_owned(), list }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:\n\nbroken\nhomeless:x:40:40:::\n33:x:99:99::/never:\n";
    const GROUPS: &str = "root:x:0:\nwww:x:34:\nstaff:x:50:root,www\naudio:x:63:www\n";

    fn find(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let User { uid, gid, groups, home } = User::find_in(wanted, USERS, GROUPS).unwrap();
        (uid, gid, groups, home)
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let www = (33, 34, vec![34, 50, 63], "/var/www".to_owned());
        assert_eq!(find("www"), www);
        assert_eq!(find("33"), www);
        assert_eq!(find("www:"), www);
        assert_eq!(find(""), (0, 0, vec![0, 50], "/root".into()));
        assert_eq!(find("homeless"), (40, 40, vec![40], "/".into()));
    }

    #[test]
    fn a_given_group_is_the_only_one() {
        assert_eq!(find("www:staff"), (33, 50, vec![50], "/var/www".into()));
        assert_eq!(find("www:7"), (33, 7, vec![7], "/var/www".into()));
        assert_eq!(find(":staff"), (0, 50, vec![50], "/root".into()));
    }

    #[test]
    fn numbers_need_no_list_but_names_do() {
        assert_eq!(find("1000"), (1000, 0, vec![0], "/".into()));
        assert_eq!(find("1000:1001"), (1000, 1001, vec![1001], "/".into()));
        for (wanted, named) in [("nobody", "user \"nobody\""), ("www:video", "group \"video\""), ("broken", "broken"), ("+5", "+5")] {
            let error = User::find_in(wanted, USERS, GROUPS).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(User::find_in("4294967295", USERS, GROUPS).is_err());
    }
}
