// A third-party sender: sends entries and ends well when every one of them was acknowledged.
//
//   node client.js port mode entries [options]
//
// Options are JSON: `security`, as FluentClient takes it, and `tlsFiles`, names of PEM files.
//
// The entry of number n has the time n seconds and n nanoseconds and is {"n": n, "text": "…"}.
const { readFileSync } = require("fs");
const { FluentClient, EventTime } = require("@fluent-org/logger");

const [port, mode, entries, options = "{}"] = process.argv.slice(2);
const { security, tlsFiles } = JSON.parse(options);

function tlsOptions() {
  if (!tlsFiles) return undefined;
  const files = Object.entries(tlsFiles).map(([key, path]) => [key, readFileSync(path)]);
  return Object.fromEntries(files);
}

async function main() {
  const client = new FluentClient("npm", {
    eventMode: mode,
    ack: { ackTimeout: 10000 },
    socket: { host: "127.0.0.1", port: Number(port), tls: tlsOptions() },
    security,
  });
  const acknowledged = [];
  for (let n = 0; n < Number(entries); n++) {
    acknowledged.push(client.emit(mode, { n, text: "naïve 😀" }, new EventTime(n, n)));
  }
  await Promise.all(acknowledged);
  await client.disconnect();
}

// Nobody waits for ever for a client that hangs.
setTimeout(() => process.exit(3), 30000).unref();
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
