// A server that says hello, on the port that PORT names.
const { createServer } = require('node:http');

const port = Number(process.env.PORT || 80);
const server = createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain' });
  response.end('Hello from Node.js\n');
});

// tidegate keeps connections open between requests for 55 s; Node would close them after 5.
server.keepAliveTimeout = 65_000;

// PID 1 of a container gets no signal that it has not asked for. tidegate sends this one when no request is on its way, so there is
// nothing to wait for.
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));

server.listen(port, () => console.log(`listening on port ${port}`));
