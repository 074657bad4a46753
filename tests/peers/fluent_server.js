// A third-party receiver: prints where it listens, then each entry as a line of JSON.
//
//   node fluent_server.js [port]
const { FluentServer } = require("@fluent-org/logger");

const port = Number(process.argv[2] ?? 0);
const server = new FluentServer({ listenOptions: { port, host: "127.0.0.1" } });

server.on("entry", (tag, time, record) => {
  const seconds = time.epoch ?? time;
  const nanos = time.nano ?? 0;
  console.log(JSON.stringify({ tag, seconds, nanos, record }));
});

server.listen().then(() => console.log(JSON.stringify({ port: server.port })));
