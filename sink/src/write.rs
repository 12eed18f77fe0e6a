//! Commands to MongoDB: what their answers mean, and the one retry loop.

use std::sync::atomic::Ordering;

use anyhow::Result;
use domain::bson::{Array, Writer, documents};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::{ClientSession, Database};
use runtime::retry::{backoff, is_transient_code};

use crate::Progress;

/// Every how many tries a waiting job says so in the log.
const TRIES_PER_WARNING: u32 = 10;
/// Most bytes of documents in one insert; the server takes 16 MiB a command.
const INSERT_BYTES_MAX: usize = 8 << 20;
/// Most documents in one insert; the server takes 100,000.
const INSERT_DOCUMENTS_MAX: usize = 50_000;
/// Code of a write that met an `_id` that is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// Tries of one piece of work.
pub struct Retry<'a> {
    progress: &'a Progress,
    what: &'a str,
    attempt: u32,
}

impl<'a> Retry<'a> {
    /// Work named `what`, not tried yet.
    pub fn new(progress: &'a Progress, what: &'a str) -> Self {
        Self { progress, what, attempt: 0 }
    }

    /// Whether it has failed before.
    pub fn is_retry(&self) -> bool {
        self.attempt > 0
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The error itself when trying again cannot help.
    pub async fn after(&mut self, error: Error) -> Result<()> {
        if !is_transient(&error) {
            return Err(anyhow::Error::new(error).context(format!("MongoDB refused to {}", self.what)));
        }
        self.progress.mongodb_away.store(true, Ordering::Relaxed);
        self.progress.mongodb_retries.fetch_add(1, Ordering::Relaxed);
        if self.attempt % TRIES_PER_WARNING == 1 {
            tracing::warn!(attempt = self.attempt, %error, "cannot {} in MongoDB, trying again; nothing is lost", self.what);
        }
        backoff(self.attempt).await;
        self.attempt += 1;
        Ok(())
    }

    /// Ends the tries with success.
    pub fn done(self) {
        if self.attempt > 1 {
            tracing::info!(attempts = self.attempt, "MongoDB is back: could {}", self.what);
        }
        self.progress.mongodb_away.store(false, Ordering::Relaxed);
    }
}

/// Whether work failed because MongoDB is away or between two primaries, so that it can be begun again.
pub fn is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(is_transient))
}

fn is_transient(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Custom(custom) => {
            custom.downcast_ref::<WriteError>().is_some_and(|error| is_transient_code(error.code))
        }
        _ => runtime::retry::is_transient(error),
    }
}

/// A write error that came inside of an answer that says `ok`.
#[derive(Clone, Debug)]
struct WriteError {
    code: i32,
    message: String,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

/// What a write command did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Documents inserted, or matched and upserted.
    pub n: u64,
    /// Documents that were there already.
    pub duplicates: u64,
}

/// Reads a write command's answer: `ok` says nothing about its statements.
fn written(answer: &Document) -> Result<Written, Error> {
    let number = |document: &Document, key: &str| document.get_i32(key).ok();
    let mut result =
        Written { n: number(answer, "n").and_then(|n| u64::try_from(n).ok()).unwrap_or(0), duplicates: 0 };
    let message = |error: &Document| error.get_str("errmsg").unwrap_or("no message").to_owned();
    for error in answer.get_array("writeErrors").into_iter().flatten().filter_map(|error| error.as_document())
    {
        match number(error, "code").unwrap_or(0) {
            DUPLICATE_KEY => result.duplicates += 1,
            code => return Err(Error::custom(WriteError { code, message: message(error) })),
        }
    }
    if let Ok(error) = answer.get_document("writeConcernError") {
        let code = number(error, "code").unwrap_or(64);
        return Err(Error::custom(WriteError { code, message: message(error) }));
    }
    Ok(result)
}

/// Insert commands for documents that are BSON already.
///
/// # Errors
/// When a document is not BSON.
pub fn insert_commands<'d>(
    collection: &str,
    documents: impl IntoIterator<Item = &'d [u8]>,
) -> Result<Vec<RawDocumentBuf>> {
    let concern = |command: &mut Writer| {
        command.document("writeConcern", |concern| concern.string("w", "majority"));
    };
    Ok(commands(collection, documents.into_iter(), concern)?)
}

/// Insert commands with what `more` adds, each document written once into its command. The collection's
/// validator is not asked: it is there for other writers, and asking it for what this program made costs a
/// fifth of the insert (`cargo xtask bench pipeline`).
fn commands<'d>(
    collection: &str,
    documents: impl Iterator<Item = &'d [u8]>,
    more: impl Fn(&mut Writer),
) -> mongodb::bson::error::Result<Vec<RawDocumentBuf>> {
    let mut commands = Vec::new();
    let mut documents = documents.peekable();
    while documents.peek().is_some() {
        let mut bytes = Vec::new();
        let mut command = Writer::new(&mut bytes);
        command.string("insert", collection);
        command.boolean("ordered", false);
        command.boolean("bypassDocumentValidation", true);
        more(&mut command);
        command.documents("documents", |array| {
            let fits = |array: &Array, next: &[u8]| {
                array.is_empty()
                    || array.len() < INSERT_DOCUMENTS_MAX && array.bytes() + next.len() <= INSERT_BYTES_MAX
            };
            while let Some(document) = documents.next_if(|next| fits(array, next)) {
                array.push(document);
            }
        });
        command.finish();
        commands.push(RawDocumentBuf::from_bytes(bytes)?);
    }
    Ok(commands)
}

/// Runs insert commands, as often as it takes. Documents that are there already are counted.
///
/// # Errors
/// When MongoDB refuses for good.
pub async fn insert(
    database: &Database,
    progress: &Progress,
    commands: Vec<RawDocumentBuf>,
) -> Result<Written> {
    let mut total = Written::default();
    for command in commands {
        let mut retry = Retry::new(progress, "insert events");
        let written = loop {
            match database.run_raw_command(command.clone()).await.and_then(|answer| written(&answer)) {
                Ok(written) => break written,
                Err(error) => retry.after(error).await?,
            }
        };
        // What an earlier try of this command has inserted is not a duplicate of an earlier run.
        let own = if retry.is_retry() { written.duplicates } else { 0 };
        retry.done();
        total.n += written.n + own;
        total.duplicates += written.duplicates - own;
    }
    Ok(total)
}

/// Whether a transaction was refused because a document to insert is there already.
pub fn is_duplicate(error: &anyhow::Error) -> bool {
    let code = |error: &Error| match error.kind.as_ref() {
        ErrorKind::Custom(custom) => custom.downcast_ref::<WriteError>().map(|error| error.code),
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    };
    error.downcast_ref::<Error>().and_then(code) == Some(DUPLICATE_KEY)
}

/// What is written to a collection in a transaction.
pub enum Write {
    /// Documents, one after the other, that are not there yet.
    Insert(&'static str, Vec<u8>),
    /// Update statements (`q`, `u`, `upsert`).
    Update(&'static str, Vec<Document>),
}

impl Write {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Insert(_, documents) => documents.is_empty(),
            Self::Update(_, statements) => statements.is_empty(),
        }
    }

    /// Writes it in the session's transaction.
    ///
    /// # Errors
    /// As the driver's, and those of single statements.
    pub async fn run(&self, database: &Database, session: &mut ClientSession) -> Result<(), Error> {
        match self {
            Self::Insert(collection, bytes) => {
                for command in commands(collection, documents(bytes), |_| {})? {
                    let answer = database.run_raw_command(command).session(&mut *session).await?;
                    if written(&answer)?.duplicates > 0 {
                        let message = format!("{collection} has a document that was not there before");
                        return Err(Error::custom(WriteError { code: DUPLICATE_KEY, message }));
                    }
                }
            }
            Self::Update(collection, statements) => {
                update(database, collection, statements.clone(), Some(session)).await?;
            }
        }
        Ok(())
    }
}

/// Runs update statements (`q`, `u`, `upsert`), in the session's transaction where there is one.
///
/// # Errors
/// As the driver's, and those of single statements.
pub async fn update(
    database: &Database,
    collection: &str,
    statements: Vec<Document>,
    session: Option<&mut ClientSession>,
) -> Result<Written, Error> {
    if statements.is_empty() {
        return Ok(Written::default());
    }
    let mut command = doc! { "update": collection, "ordered": false, "updates": statements };
    let answer = match session {
        Some(session) => database.run_command(command).session(session).await?,
        None => {
            command.insert("writeConcern", doc! { "w": "majority" });
            database.run_command(command).await?
        }
    };
    match written(&answer)? {
        Written { duplicates: 0, n } => Ok(Written { n, duplicates: 0 }),
        // Upserts of one writer do not race; if another process wrote the same document, trying again finds
        // it.
        _ => Err(conflict("an upsert met another one")),
    }
}

/// A write that met another one, and is to be tried again.
pub fn conflict(message: &str) -> Error {
    Error::custom(WriteError { code: 112, message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::rawdoc;

    #[test]
    fn an_insert_holds_every_document_as_it_is() {
        let documents: Vec<_> = (0..INSERT_DOCUMENTS_MAX + 2).map(|n| rawdoc! { "_id": n as i64 }).collect();
        let commands = insert_commands("c", documents.iter().map(|document| document.as_bytes()));
        let commands: Vec<Document> = commands
            .expect("BSON")
            .iter()
            .map(|command| command.as_ref().try_into().expect("a command is BSON"))
            .collect();
        let inserted: Vec<i64> = commands
            .iter()
            .flat_map(|command| command.get_array("documents").expect("documents"))
            .map(|document| document.as_document().expect("a document").get_i64("_id").expect("an id"))
            .collect();
        assert!(inserted.into_iter().eq(0..documents.len() as i64));
        let last = doc! { "insert": "c", "ordered": false, "bypassDocumentValidation": true, "writeConcern": { "w": "majority" } };
        assert_eq!(commands.len(), 2);
        assert!(last.iter().all(|(key, value)| commands[1].get(key) == Some(value)), "{}", commands[1]);
        let large = vec![0; INSERT_BYTES_MAX];
        let mut bytes = Vec::new();
        let mut document = Writer::new(&mut bytes);
        document.string("text", std::str::from_utf8(&large).expect("ASCII"));
        document.finish();
        assert_eq!(insert_commands("c", [&bytes[..]; 3]).expect("BSON").len(), 3);
    }

    #[test]
    fn an_answer_that_says_ok_can_hold_errors() {
        let error = |code: i32| doc! { "index": 0, "code": code, "errmsg": "no" };
        let answer = |errors: Vec<Document>| doc! { "ok": 1.0, "n": 5, "writeErrors": errors };
        assert_eq!(written(&answer(vec![])).ok(), Some(Written { n: 5, duplicates: 0 }));
        let duplicates = written(&answer(vec![error(DUPLICATE_KEY), error(DUPLICATE_KEY)]));
        assert_eq!(duplicates.ok(), Some(Written { n: 5, duplicates: 2 }));
        let refused = written(&answer(vec![error(DUPLICATE_KEY), error(121)])).expect_err("a refusal");
        assert!(!is_transient(&refused));
        let busy = written(&answer(vec![error(11_600)])).expect_err("an interruption");
        assert!(is_transient(&busy));
        let concern = doc! { "ok": 1.0, "n": 5, "writeConcernError": { "code": 64, "errmsg": "waiting" } };
        assert!(is_transient(&written(&concern).expect_err("not replicated yet")));
    }
}
