//! `mongodb init`: gives a database the collections, indexes and users that the pipeline needs, spreads them
//! over the shards of a cluster, and shows what differs.

use std::process::ExitCode;

use ::mongodb::Database;
use anyhow::{Context, Result};
use sink::checkpoint::newest_epoch;
use sink::schema::daily::Parts;
use sink::schema::plan::{self, Change, Plan, Step};
use sink::schema::sharding::{self, Found, Wanted};
use sink::schema::users::{self, Access};

use super::mongosh::shown;
use crate::args::MongodbInitArgs;
use crate::config::LOGS;
use crate::mongodb::{Reached, reach};
use crate::plan::Store;

/// Runs the command. A finding is what differs and stays.
pub(super) async fn init(args: MongodbInitArgs) -> Result<ExitCode> {
    let store = Store::new(args.store)?;
    let reached = reach(&store).await?;
    let asked = Asked { dry_run: args.dry_run, repair: args.apply, users: args.users, sharded: args.sharded };
    let done = run(&store, &reached, asked).await;
    reached.close().await;
    done
}

#[derive(Clone, Copy)]
struct Asked {
    dry_run: bool,
    repair: bool,
    users: bool,
    sharded: bool,
}

async fn run(store: &Store, reached: &Reached, asked: Asked) -> Result<ExitCode> {
    let database = &reached.database;
    if asked.sharded {
        sharding::require_mongos(&database.client().database("admin")).await?;
    }
    let Plan { mut steps, events } = plan::plan(database, &store.retention).await?;
    if asked.users {
        steps.extend(users::plan(database, events.are_daily(), password).await?);
    }
    println!("database {} on {}", database.name(), reached.description);
    let mut tally = Tally { asked, due: 0, repairs: 0, differs: false };
    tally.carry_out(database, &steps).await?;
    if asked.sharded {
        spread(store, database, events, &mut tally).await?;
    }
    Ok(tally.tell())
}

/// Zones and shard keys first, and then, of the chunks that come of them, which shard takes what.
async fn spread(store: &Store, database: &Database, events: Parts, tally: &mut Tally) -> Result<()> {
    let client = database.client();
    let (config, admin) = (client.database("config"), client.database("admin"));
    let wanted = wanted(store, database, events).await?;
    let mut found = Found::read(&config, wanted.database).await?;
    let steps = sharding::define(&found, &wanted);
    tally.carry_out(&admin, &steps).await?;
    if tally.asked.dry_run {
        let commands = steps.iter().flat_map(|step| step.commands(tally.asked.repair));
        commands.for_each(|command| found.apply(command));
    } else {
        found = Found::read(&config, wanted.database).await?;
    }
    for collection in wanted.laid_out() {
        let newest = sharding::newest(database, &wanted, collection).await?;
        let assignments = sharding::assign(&found, &wanted, collection, &newest);
        tally.carry_out(&admin, &sharding::layout(&found, &wanted, collection, &assignments)).await?;
    }
    sharding::uneven(&found, &wanted).iter().for_each(|note| println!("  note     {note}"));
    Ok(())
}

pub(super) async fn wanted<'s>(
    store: &'s Store,
    database: &'s Database,
    events: Parts,
) -> Result<Wanted<'s>> {
    let epoch = newest_epoch(database, LOGS).await?;
    Ok(Wanted { database: database.name(), zones: &store.zones, partitions: store.partitions, epoch, events })
}

/// What was done and what was found.
struct Tally {
    asked: Asked,
    due: usize,
    repairs: usize,
    differs: bool,
}

impl Tally {
    /// Shows steps and does them, one after the other.
    async fn carry_out(&mut self, database: &Database, steps: &[Step]) -> Result<()> {
        let Asked { dry_run, repair, .. } = self.asked;
        let run = if database.name() == "admin" { "adminCommand" } else { "runCommand" };
        for step in steps {
            println!("  {step}");
            if dry_run {
                // Also those that --apply would run: what is shown as repair should say how.
                step.commands(true).iter().for_each(|command| println!("    db.{run}({})", shown(command)));
            } else {
                plan::apply(database, std::slice::from_ref(step), repair).await?;
            }
            self.due += usize::from(!step.commands(repair).is_empty());
            self.repairs += usize::from(matches!(step.change, Change::Repair { .. }));
            self.differs |= matches!(step.change, Change::Differs(_));
        }
        Ok(())
    }

    fn tell(self) -> ExitCode {
        let Self { asked, due, repairs, differs } = self;
        if asked.dry_run {
            println!("{due} to do; nothing was done (--dry-run)");
        } else {
            println!("{due} done");
        }
        let left = repairs > 0 && !asked.repair;
        if left {
            println!("{repairs} to repair; --apply does it");
        }
        if differs || left { ExitCode::from(super::EXIT_FINDING) } else { ExitCode::SUCCESS }
    }
}

fn password(access: Access) -> Result<String> {
    let variable = match access {
        Access::Write => "STREAMPULSE_WRITER_PASSWORD",
        Access::Read => "STREAMPULSE_READER_PASSWORD",
    };
    let password = std::env::var(variable).ok().filter(|password| !password.is_empty());
    password.with_context(|| format!("the user {} needs a password: set {variable}", access.name()))
}
