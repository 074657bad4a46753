// A third-party receiver: prints where it listens, then each entry as a line of JSON.
//
//   node fluent_server.js [options]
//
// The options are JSON: what FluentServer takes, with the names of PEM files in tlsFiles.
const fs = require("fs");
const { FluentServer } = require("@fluent-org/logger");

const { tlsFiles, ...options } = JSON.parse(process.argv[2] ?? "{}");
if (tlsFiles) {
  const read = ([name, file]) => [name, fs.readFileSync(file)];
  const files = Object.fromEntries(Object.entries(tlsFiles).map(read));
  options.tlsOptions = { ...options.tlsOptions, ...files };
}
options.listenOptions ??= { port: 0, host: "127.0.0.1" };
const server = new FluentServer(options);

server.on("entry", (tag, time, record) => {
  const seconds = time.epoch ?? time;
  const nanos = time.nano ?? 0;
  console.log(JSON.stringify({ tag, seconds, nanos, record }));
});

server.listen().then(() => console.log(JSON.stringify({ port: server.port ?? 0 })));
