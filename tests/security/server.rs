//! A MongoDB that takes nobody without TLS and without a name, with certificates that are made for it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};
use streampulse::mongod;

use crate::processes::{free_port, remember_folder, remember_process};
use crate::support::{run, streampulse};

/// Longest time that the server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
const ADMIN: &str = "admin:4dmin";
/// Of the clients with a certificate, the one that is a user.
pub const CLIENT: &str = "pipeline";

/// The server, which lives as long as the tests.
pub struct Server {
    dir: PathBuf,
    port: u16,
}

/// An authority that signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate with its key, in one file as MongoDB takes it: that of the server at `places`, or of a client
    /// where there are none.
    pub fn sign(&self, name: &str, places: Vec<SanType>) -> String {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        // A client with the server's organization would count as a member of the replica set.
        let mut organization = "streampulse tests";
        if !places.is_empty() {
            params.subject_alt_names = places;
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            organization = "streampulse server";
        }
        // As in the name of a user: what is pushed last stands first there.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        certificate.pem() + &key.serialize_pem()
    }
}

impl Server {
    /// The one server of these tests.
    pub fn get() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| std::thread::spawn(Self::start).join().expect("it starts"))
    }

    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder").keep();
        let (ours, other) = (Authority::new("ours"), Authority::new("another"));
        let here = SanType::IpAddress([127, 0, 0, 1].into());
        for (file, text) in [
            ("ca.pem", &ours.pem),
            ("other-ca.pem", &other.pem),
            ("server.pem", &ours.sign("server", vec![here])),
            ("pipeline.pem", &ours.sign(CLIENT, vec![])),
            ("stranger.pem", &ours.sign("stranger", vec![])),
            ("forged.pem", &other.sign(CLIENT, vec![])),
            ("key", &"c3RyZWFtcHVsc2U=".to_owned()),
        ] {
            std::fs::write(dir.join(file), text).expect("a file");
            let ours_alone = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(dir.join(file), ours_alone).expect("our own file");
        }
        std::fs::create_dir(dir.join("mongod")).expect("a folder");
        let port = free_port();
        let mut command = Command::new(mongod::program().expect("a mongod"));
        command.current_dir(&dir).args(["--dbpath", "mongod", "--port", &port.to_string()]);
        command.args(["--bind_ip", "127.0.0.1", "--replSet", "secured", "--auth", "--keyFile", "key"]);
        command.args(["--tlsMode", "requireTLS", "--tlsCAFile", "ca.pem"]);
        command.args(["--tlsCertificateKeyFile", "server.pem", "--tlsAllowConnectionsWithoutCertificates"]);
        command.args(["--wiredTigerCacheSizeGB", "0.25", "--logpath", "log.txt"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("mongod starts");
        remember_process(child.id(), "mongod");
        remember_folder(&dir);
        let this = Self { dir, port };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(this.set_up());
        assert!(child.try_wait().expect("our child").is_none(), "mongod has ended");
        this
    }

    /// Until there is a user, whoever is on this machine may initiate the replica set and make one.
    async fn set_up(&self) {
        let nobody = format!("{}&tlsCAFile={}", self.uri_without_ca(""), self.file("ca.pem"));
        let nobody = Client::with_uri_str(nobody).await.expect("a client").database("admin");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port) };
        let initiate = doc! { "replSetInitiate": { "_id": "secured", "members": [member] } };
        let create = doc! { "createUser": "admin", "pwd": "4dmin", "roles": ["root"] };
        for command in [initiate, create] {
            let until = Instant::now() + PATIENCE;
            while let Err(error) = nobody.run_command(command.clone()).await {
                assert!(Instant::now() < until, "{command}: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let roles = doc! { "createUser": format!("CN={CLIENT},O=streampulse tests"), "roles": [] };
        let external = self.admin().await.database("$external");
        external.run_command(roles).await.expect("a user of another kind");
    }

    /// A file of the server's folder.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The connection string of a user, with the right authority. `user` is `name:password`.
    pub fn uri(&self, user: &str, database: &str) -> String {
        format!("{}&authSource={database}&tlsCAFile={}", self.uri_without_ca(user), self.file("ca.pem"))
    }

    /// The same with no authority named, nor where the user is.
    pub fn uri_without_ca(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        format!("mongodb://{user}{at}127.0.0.1:{}/?directConnection=true&tls=true", self.port)
    }

    /// The connection string of a client with a certificate.
    pub fn uri_x509(&self, certificate: &str) -> String {
        let certificate = self.file(certificate);
        let mechanism = format!("authMechanism=MONGODB-X509&tlsCertificateKeyFile={certificate}");
        format!("{}&{mechanism}&tlsCAFile={}", self.uri_without_ca(""), self.file("ca.pem"))
    }

    /// Somebody who may do anything.
    pub async fn admin(&self) -> Client {
        Client::with_uri_str(self.uri(ADMIN, "admin")).await.expect("a client")
    }

    /// Gives a database its collections, its two users and the client with a certificate, which may write.
    pub async fn init(&self, dir: &Path, database: &str, writer: &str, reader: &str) {
        let mut init = streampulse(dir, &format!("mongodb init --users --database {database}"));
        init.env("STREAMPULSE_MONGODB_URI", self.uri(ADMIN, "admin"));
        init.env("STREAMPULSE_WRITER_PASSWORD", writer).env("STREAMPULSE_READER_PASSWORD", reader);
        run(init, 0);
        let role = doc! { "role": "streampulse-writer", "db": database };
        let user = format!("CN={CLIENT},O=streampulse tests");
        let grant = doc! { "grantRolesToUser": user, "roles": [role] };
        self.admin().await.database("$external").run_command(grant).await.expect("it may write");
    }

    /// Every document of a database, as text.
    pub async fn dump(&self, database: &str) -> String {
        let database = self.admin().await.database(database);
        let mut text = String::new();
        for name in database.list_collection_names().await.expect("names") {
            let found = database.collection::<Document>(&name).find(doc! {}).await.expect("documents");
            let documents: Vec<Document> = found.try_collect().await.expect("documents");
            text += &format!("{name}: {documents:?}\n");
        }
        text
    }
}
