//! Users with least privilege: one that writes, for the pipeline and its connectors, and one that only reads,
//! for dashboards. Both live in the database they are for (`authSource` in a URI).

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

use super::EVENTS;
use super::plan::{Change, Step};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Create collections and indexes, write, and watch; not remove, drop or change.
    Write,
    /// Read, and watch.
    Read,
}

impl Access {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Write, Self::Read];

    /// The role, and the user that has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "streampulse-writer",
            Self::Read => "streampulse-reader",
        }
    }

    /// Actions on the whole database.
    fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Write => &[
                "find",
                "insert",
                "update",
                // What the SmartModules made is not validated again.
                "bypassDocumentValidation",
                "listCollections",
                "listIndexes",
                "collStats",
                "createCollection",
                "createIndex",
                // Delivery is told of alerts that change.
                "changeStream",
            ],
            // `dbStats` is what Grafana asks when it tests its data source.
            Self::Read => &["find", "listCollections", "listIndexes", "collStats", "dbStats", "changeStream"],
        }
    }

    /// Where events lie in a collection a day, a new day has to be shown by the view.
    fn privileges(self, database: &str, events_are_daily: bool) -> Vec<Document> {
        let on = |collection: &str, actions: &[&str]| {
            let actions: Vec<Bson> = actions.iter().map(|action| Bson::from(*action)).collect();
            doc! { "resource": { "db": database, "collection": collection }, "actions": actions }
        };
        let mut privileges = vec![on("", self.actions())];
        if self == Self::Write && events_are_daily {
            privileges.push(on(EVENTS, &["collMod"]));
        }
        privileges
    }
}

/// What is to be done so that `database` has both roles and users, whose rights depend on how its events lie.
/// `password` gives the one of a new user.
///
/// # Errors
/// When MongoDB refuses, or a password is missing.
pub async fn plan(
    database: &Database,
    events_are_daily: bool,
    password: impl Fn(Access) -> Result<String>,
) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for access in Access::ALL {
        let roles = doc! { "rolesInfo": access.name(), "showPrivileges": true };
        let roles = database.run_command(roles).await.context("cannot read roles")?;
        let users = database.run_command(doc! { "usersInfo": access.name() }).await;
        let users = users.context("cannot read users")?;
        let privileges = access.privileges(database.name(), events_are_daily);
        steps.push(role_step(access, privileges, first(&roles, "roles")));
        steps.push(user_step(database.name(), access, first(&users, "users"), || password(access))?);
    }
    Ok(steps)
}

fn first<'a>(answer: &'a Document, key: &str) -> Option<&'a Document> {
    answer.get_array(key).ok()?.first()?.as_document()
}

fn role_step(access: Access, privileges: Vec<Document>, found: Option<&Document>) -> Step {
    let command = |verb: &str| doc! { verb: access.name(), "privileges": privileges.clone(), "roles": [] };
    let change = match found {
        None => Change::Create(vec![command("createRole")]),
        Some(role) if is_granted(role, &privileges) => Change::Keep,
        Some(_) => Change::Repair {
            how: format!("it may do something else than {}", access.actions().join(", ")),
            commands: vec![command("updateRole")],
        },
    };
    Step { what: format!("role {}", access.name()), change }
}

/// The server may give actions in another order.
fn is_granted(role: &Document, privileges: &[Document]) -> bool {
    let read = |privilege: &Document| {
        let actions: BTreeSet<String> = privilege
            .get_array("actions")
            .ok()?
            .iter()
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        Some((privilege.get_document("resource").ok()?.clone(), actions))
    };
    let theirs: Vec<_> =
        role.get_array("privileges").into_iter().flatten().filter_map(Bson::as_document).collect();
    let inherits = role.get_array("roles").is_ok_and(|roles| !roles.is_empty());
    !inherits
        && theirs.len() == privileges.len()
        && theirs.iter().zip(privileges).all(|(a, b)| read(a) == read(b))
}

fn user_step(
    database: &str,
    access: Access,
    found: Option<&Document>,
    password: impl FnOnce() -> Result<String>,
) -> Result<Step> {
    let roles = vec![Bson::from(doc! { "role": access.name(), "db": database })];
    let change = match found {
        None => {
            Change::Create(vec![doc! { "createUser": access.name(), "pwd": password()?, "roles": roles }])
        }
        Some(user) if user.get_array("roles").is_ok_and(|found| *found == roles) => Change::Keep,
        Some(_) => Change::Repair {
            how: "it has other roles".to_owned(),
            commands: vec![doc! { "updateUser": access.name(), "roles": roles }],
        },
    };
    Ok(Step { what: format!("user {}", access.name()), change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_with_other_rights_is_repaired() {
        for access in Access::ALL {
            let mut privileges = access.privileges("d", false);
            let role_step = {
                let wanted = privileges.clone();
                move |role: &Document| role_step(access, wanted.clone(), Some(role))
            };
            let role = |privileges: &[Document]| doc! { "privileges": privileges.to_vec(), "roles": [] };
            assert_eq!(role_step(&role(&privileges)).change, Change::Keep);
            let daily = access.privileges("d", true);
            let is_the_same = role_step(&role(&daily)).change == Change::Keep;
            assert_eq!(is_the_same, access == Access::Read, "only the writer sets the view");
            let mut actions = privileges[0].get_array("actions").expect("actions").clone();
            actions.reverse();
            privileges[0].insert("actions", actions.clone());
            assert_eq!(role_step(&role(&privileges)).change, Change::Keep);
            actions.push("remove".into());
            privileges[0].insert("actions", actions);
            let step = role_step(&role(&privileges));
            assert!(matches!(step.change, Change::Repair { .. }), "{step}");
        }
    }

    #[test]
    fn only_a_new_user_needs_a_password() {
        let user = doc! { "roles": [{ "role": "streampulse-reader", "db": "d" }] };
        let none = || anyhow::bail!("no password");
        let step = user_step("d", Access::Read, Some(&user), none).expect("no password is asked for");
        assert_eq!(step.change, Change::Keep);
        assert!(user_step("d", Access::Read, None, none).is_err());
        let other = doc! { "roles": [{ "role": "root", "db": "admin" }] };
        let step = user_step("d", Access::Read, Some(&other), none).expect("no password is asked for");
        assert!(matches!(step.change, Change::Repair { .. }), "{step}");
    }
}
