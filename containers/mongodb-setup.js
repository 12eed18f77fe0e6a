// Makes config servers, shards and a mongos one sharded cluster. Run again, it changes nothing.
//
//   mongosh --nodb --quiet --file mongodb-setup.js
//
//   MONGODB_CONFIG   the config servers as SET/HOST:PORT[,HOST:PORT...]
//   MONGODB_SHARDS   the shards, each in the same form, separated by blanks; a shard is called as its set
//   MONGODB_MONGOS   host:port of a mongos
//   WAIT_S_MAX       how long each step may take

const waitMs = Number(process.env.WAIT_S_MAX || 120) * 1000;

function setting(name) {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set`);
    return value;
}

function parseSet(text) {
    const [name, hosts] = text.split("/");
    if (!hosts) throw new Error(`${text} is not of the form SET/HOST:PORT`);
    return { text, name, hosts: hosts.split(",") };
}

// Tries until `attempt` gives something; an error counts as nothing yet.
function waitFor(what, attempt) {
    const deadline = Date.now() + waitMs;
    let last = "no answer";
    while (Date.now() < deadline) {
        try {
            const result = attempt();
            if (result) {
                print(what);
                return result;
            }
        } catch (error) {
            last = error.message;
        }
        sleep(1000);
    }
    throw new Error(`${what}: not within ${waitMs / 1000} s (${last})`);
}

function connectTo(host, options) {
    return waitFor(`${host} answers`, () => connect(`mongodb://${host}/admin?${options}serverSelectionTimeoutMS=2000`));
}

function initiate(set, extra) {
    const admin = connectTo(set.hosts[0], "directConnection=true&");
    const members = set.hosts.map((host, index) => ({ _id: index, host }));
    try {
        admin.adminCommand({ replSetInitiate: { _id: set.name, ...extra, members } });
        print(`replica set ${set.name} initiated: ${set.hosts.join(", ")}`);
    } catch (error) {
        if (error.codeName !== "AlreadyInitialized") throw error;
        print(`replica set ${set.name} is initiated already`);
    }
    // A member that is no primary knows which one is.
    waitFor(`replica set ${set.name} has a primary`, () => admin.adminCommand({ hello: 1 }).primary);
}

const config = parseSet(setting("MONGODB_CONFIG"));
const shards = setting("MONGODB_SHARDS").trim().split(/\s+/).map(parseSet);

initiate(config, { configsvr: true });
shards.forEach((shard) => initiate(shard, {}));

// mongos opens its port once it has reached the config servers.
const router = connectTo(setting("MONGODB_MONGOS"), "");
for (const shard of shards) {
    // Adding the same set under the same name again succeeds and does nothing.
    waitFor(`shard ${shard.name} is part of the cluster`, () =>
        router.adminCommand({ addShard: shard.text, name: shard.name }).ok);
}
