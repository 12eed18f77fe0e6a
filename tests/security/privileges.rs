//! What the two users of `mongodb init --users` may not do, asked of the server itself. What they may do is
//! shown by the pipeline that runs as them.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::server::Server;
use crate::support::database_name;

/// What the server answers to somebody who may not do it.
const UNAUTHORIZED: i32 = 13;

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    }
}

/// Commands that nobody but an administrator may run, in the database `name` and others.
fn of_administrators(name: &str, other: &str) -> Vec<(String, Document)> {
    let aggregate =
        |stage: Document| doc! { "aggregate": "access_minutes", "pipeline": [stage], "cursor": {} };
    let here = [
        doc! { "delete": "access_events", "deletes": [{ "q": {}, "limit": 0 }] },
        doc! { "findAndModify": "access_alerts", "query": {}, "remove": true },
        doc! { "drop": "access_events" },
        doc! { "drop": "pipeline_state" },
        doc! { "dropDatabase": 1 },
        doc! { "dropIndexes": "access_minutes", "index": "*" },
        doc! { "collMod": "access_events", "validationLevel": "off" },
        doc! { "collMod": "access_events", "changeStreamPreAndPostImages": { "enabled": true } },
        doc! { "convertToCapped": "access_events", "size": 4096 },
        doc! { "compact": "access_events" },
        doc! { "createUser": "more", "pwd": "p", "roles": [] },
        doc! { "createRole": "more", "privileges": [], "roles": [] },
        doc! { "updateUser": "streampulse-reader", "pwd": "p" },
        doc! { "updateUser": "streampulse-writer", "roles": ["dbOwner"] },
        doc! { "grantRolesToUser": "streampulse-reader", "roles": ["dbOwner"] },
        doc! { "updateRole": "streampulse-reader", "privileges": [] },
        doc! { "dropUser": "streampulse-reader" },
        doc! { "profile": 2 },
        aggregate(doc! { "$out": { "db": other, "coll": "copied" } }),
        aggregate(doc! { "$merge": { "into": { "db": other, "coll": "copied" } } }),
    ];
    let elsewhere = [
        doc! { "find": "secrets" },
        doc! { "insert": "secrets", "documents": [{ "_id": 1 }] },
        doc! { "update": "secrets", "updates": [{ "q": {}, "u": { "$set": { "x": 1 } } }] },
        doc! { "listCollections": 1 },
        doc! { "create": "more" },
    ];
    let admin = [
        doc! { "renameCollection": format!("{name}.access_events"), "to": format!("{name}.gone") },
        doc! { "find": "system.users" },
        doc! { "usersInfo": { "forAllDBs": true } },
        doc! { "shutdown": 1 },
        doc! { "getLog": "global" },
        doc! { "getParameter": "*" },
        doc! { "setParameter": 1, "logLevel": 1 },
        doc! { "currentOp": 1, "$all": true },
        doc! { "killAllSessions": [] },
        doc! { "replSetStepDown": 1 },
        doc! { "fsync": 1, "lock": true },
    ];
    let in_each = [(name, here.to_vec()), (other, elsewhere.to_vec()), ("admin", admin.to_vec())];
    let in_each = in_each.into_iter();
    in_each.flat_map(|(database, commands)| commands.into_iter().map(|c| (database.to_owned(), c))).collect()
}

/// What only a reader may not do, in its own database.
fn of_writers() -> Vec<Document> {
    let to = |stage: &str, into: &str| {
        doc! { "aggregate": "access_minutes", "pipeline": [{ stage: into }], "cursor": {} }
    };
    vec![
        doc! { "insert": "access_alerts", "documents": [{ "_id": "x" }] },
        doc! { "update": "access_alerts", "updates": [{ "q": {}, "u": { "$set": { "x": 1 } }, "multi": true }] },
        doc! { "update": "pipeline_state", "updates": [{ "q": { "_id": "x" }, "u": { "next": 0 }, "upsert": true }] },
        doc! { "findAndModify": "access_alerts", "query": {}, "update": { "$set": { "x": 1 } } },
        doc! { "create": "more" },
        doc! { "createIndexes": "access_minutes", "indexes": [{ "key": { "n": 1 }, "name": "n_1" }] },
        to("$out", "copied"),
        to("$merge", "access_minutes"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_and_writer_can_do_no_more_than_they_should() {
    let (server, dir) = (Server::get(), tempfile::tempdir().expect("a folder"));
    let (name, other) = (database_name("privileges"), database_name("private"));
    server.init(dir.path(), &name, "w", "r").await;
    let private = server.admin().await.database(&other).collection::<Document>("secrets");
    private.insert_one(doc! { "_id": 0 }).await.expect("an administrator may");
    let before = server.dump(&name).await;

    for user in ["streampulse-writer:w", "streampulse-reader:r"] {
        let client = Client::with_uri_str(server.uri(user, &name)).await.expect("a client");
        let mut commands = of_administrators(&name, &other);
        if user.contains("reader") {
            commands.extend(of_writers().into_iter().map(|command| (name.clone(), command)));
        }
        for (database, command) in commands {
            match client.database(&database).run_command(command.clone()).await {
                Ok(answer) => {
                    // Of single writes the answer itself holds the error.
                    let refused = answer.get_array("writeErrors").is_ok_and(|errors| {
                        errors.iter().all(|error| {
                            error.as_document().and_then(|error| error.get_i32("code").ok())
                                == Some(UNAUTHORIZED)
                        })
                    });
                    assert!(refused, "{user} may run {command} in {database}: {answer}");
                }
                Err(error) => assert_eq!(code(&error), Some(UNAUTHORIZED), "{user}: {command}: {error}"),
            }
        }
        let seen = client.list_database_names().await.expect("the own ones");
        assert_eq!(seen, std::slice::from_ref(&name), "{user} sees other databases");
    }
    assert_eq!(server.dump(&name).await, before, "nothing has changed");
    assert_eq!(private.count_documents(doc! {}).await.expect("a count"), 1);
}
