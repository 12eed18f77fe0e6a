//! `mongodb init`: gives a database the collections, indexes and users that the pipeline needs, and shows
//! what differs.

use std::process::ExitCode;

use ::mongodb::bson::{Bson, Document};
use anyhow::{Context, Result};
use sink::schema::plan::{self, Change, Step};
use sink::schema::users::{self, Access};

use crate::args::MongodbInitArgs;
use crate::mongodb::{Reached, reach};
use crate::plan::Store;

/// Runs the command. A finding is what differs and stays.
pub(super) async fn init(args: MongodbInitArgs) -> Result<ExitCode> {
    let store = Store::new(args.store)?;
    let reached = reach(&store).await?;
    let done = run(&store, &reached, Asked { dry_run: args.dry_run, repair: args.apply, users: args.users });
    let done = done.await;
    reached.close().await;
    done
}

#[derive(Clone, Copy)]
struct Asked {
    dry_run: bool,
    repair: bool,
    users: bool,
}

async fn run(store: &Store, reached: &Reached, asked: Asked) -> Result<ExitCode> {
    let database = &reached.database;
    let mut steps = plan::plan(database, &store.retention).await?;
    if asked.users {
        steps.extend(users::plan(database, password).await?);
    }
    println!("database {} on {}", database.name(), reached.description);
    for step in &steps {
        println!("  {step}");
        if asked.dry_run {
            // Also those that --apply would run: what is shown as repair should say how.
            for command in step.commands(true) {
                println!("    db.runCommand({})", shown(command));
            }
        }
    }
    let due = steps.iter().filter(|step| !step.commands(asked.repair).is_empty()).count();
    if asked.dry_run {
        println!("{due} to do; nothing was done (--dry-run)");
    } else {
        plan::apply(database, &steps, asked.repair).await?;
        println!("{due} done");
    }
    let repairs = steps.iter().filter(|step| matches!(step.change, Change::Repair { .. })).count();
    if repairs > 0 && !asked.repair {
        println!("{repairs} to repair; --apply does it");
    }
    let differs = |step: &Step| match step.change {
        Change::Differs(_) => true,
        Change::Repair { .. } => !asked.repair,
        Change::Keep | Change::Create(_) | Change::Foreign => false,
    };
    let differs = steps.iter().any(differs);
    Ok(if differs { ExitCode::from(super::EXIT_FINDING) } else { ExitCode::SUCCESS })
}

fn password(access: Access) -> Result<String> {
    let variable = match access {
        Access::Write => "STREAMPULSE_WRITER_PASSWORD",
        Access::Read => "STREAMPULSE_READER_PASSWORD",
    };
    let password = std::env::var(variable).ok().filter(|password| !password.is_empty());
    password.with_context(|| format!("the user {} needs a password: set {variable}", access.name()))
}

/// A command as mongosh takes it, without a password.
fn shown(command: &Document) -> String {
    let mut command = command.clone();
    if let Some(password) = command.get_mut("pwd") {
        *password = Bson::from("***");
    }
    command.to_string()
}
